"""A small network whose Jacobian is not symmetric."""

import pytest
import torch

from tests.helpers.products import D


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
