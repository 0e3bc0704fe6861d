"""A small network whose Jacobian is not symmetric, and a count of what is asked of it."""

import pytest
import torch

D = 8
TOLERANCE = {"jvp": 1e-12, "fd": 1e-4, "fd-one-sided": 5e-3}


@pytest.fixture(scope="session")
def network():
    generator = torch.Generator().manual_seed(5)
    first = torch.randn(D, D, generator=generator, dtype=torch.float64) / D**0.5
    second = torch.randn(D, D, generator=generator, dtype=torch.float64) / D**0.5
    return lambda x: torch.tanh(x @ first) @ second + 0.1 * x.square()


@pytest.fixture(scope="session")
def points():
    generator = torch.Generator().manual_seed(6)
    draws = torch.randn(3, 4, D, generator=generator, dtype=torch.float64)
    return draws[0], draws[1], draws[2]


def jacobians(network, x):
    return torch.stack([torch.autograd.functional.jacobian(lambda z: network(z[None])[0], row) for row in x])


def relative(got, expected):
    return float((got - expected).norm() / expected.norm())


class Count:
    """Keeps what an operator told, and what it really evaluated: the value that a graph needs is a forward too."""

    def __init__(self, network):
        self.network, self.evaluations = network, 0
        self.told = {"forwards": 0, "jvps": 0, "vjps": 0}

    def __call__(self, *, forwards=0, jvps=0, vjps=0):
        self.told["forwards"] += forwards
        self.told["jvps"] += jvps
        self.told["vjps"] += vjps

    def f(self, x):
        self.evaluations += 1
        return self.network(x)
