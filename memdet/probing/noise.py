"""Random draws that depend on the seed and the item, and on nothing else.

Everything is drawn on the CPU in float32, so scores do not depend on batch size, order, workers or device.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def shared_noise(shape: tuple[int, ...], seed: int) -> Tensor:
    """The starting noise of all items of a seed: what a diffusers pipeline draws for this generator."""
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


def item_noise(shape: tuple[int, ...], seed: int, item_id: str) -> Tensor:
    """The starting noise of one item."""
    return torch.randn(shape, generator=_generator("noise", seed, item_id))


def item_uniform(seed: int, item_id: str) -> float:
    """A number in [0, 1) for one item."""
    return float(torch.rand((), generator=_generator("uniform", seed, item_id), dtype=torch.float64))


def rademacher(shape: tuple[int, ...], seed: int, index: int) -> Tensor:
    """The ``index``-th probe vector of a seed, entries +1 and -1."""
    return torch.randint(2, shape, generator=_generator("rademacher", seed, index)).float() * 2 - 1


def gaussian(shape: tuple[int, ...], seed: int, index: int) -> Tensor:
    """The ``index``-th standard normal vector of a seed, independent of the starting noise."""
    return torch.randn(shape, generator=_generator("gaussian", seed, index))


def _generator(*key: str | int) -> torch.Generator:
    digest = hashlib.sha256("\0".join(map(str, key)).encode()).digest()
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "little") >> 1)
