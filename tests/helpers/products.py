"""Jacobians by autograd, and a count of what an operator asks."""

import torch

D = 8
TOLERANCE = {"jvp": 1e-12, "fd": 1e-4, "fd-one-sided": 5e-3}


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
