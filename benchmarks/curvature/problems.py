"""Closed forms whose answers are known, and the same product for all who are compared. On the CPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memdet.models import DCTGaussian, NoiseSchedule, Skewed

Array = NDArray[np.float32]


class NoisyDensities:
    """Hessians of log densities at noise ``sigma``, one an item, plus a skew part of known size.

    ``S = C diag(-1 / (l + sigma^2)) C^T`` with C the cosine basis. The variances l fall like a power of the frequency,
    as those of images do, to the level of the noise; along the ``narrow`` highest frequencies they fall on to nothing,
    and there the sharpest curvature, the smallest eigenvalue, is found. Items differ in all of these.

    ``J = S + skew / sigma^2 K`` with the signed shift ``K (a, b) = (-b, a)``: ``K^T = -K``, so the symmetric part of J
    is S whatever the skew. Products are asked of the closed-form score models, as a detector would ask them.

    Args:
        skew: Size of the skew part relative to ``1 / sigma^2``, the bound of the spectrum.
        batch: Items.
        d: Dimension, even.
        narrow: Directions with less variance than the bulk.
        sigma: Noise.
    """

    def __init__(self, skew: float, batch: int = 64, d: int = 4096, narrow: int = 20, sigma: float = 0.5) -> None:
        self.batch, self.d = batch, d
        draw = np.random.default_rng(0).random((2, batch, 1))
        frequency = np.arange(1, d + 1) / d
        falling = 1 - np.exp(-(1 - frequency) * d / (narrow * (0.5 + draw[0])))
        variance = torch.from_numpy(sigma**2 * (0.5 + draw[1]) * frequency**-2 * falling)
        mean = torch.zeros(d, dtype=torch.float64)
        names = [str(i) for i in range(batch)]
        gaussians = DCTGaussian(
            "noisy densities",
            mean,
            variance[0],
            {name: (mean, variance[i]) for i, name in enumerate(names)},
            NoiseSchedule(np.ones(1), np.full(1, sigma)),
        )
        self._jacobian, self._transposed = Skewed(gaussians, skew), Skewed(gaussians, -skew)
        self._x, self._embedding = torch.zeros(batch, d), gaussians.embed(names)
        self.smallest = gaussians.exact_spectrum(self._x, 0, self._embedding)[:, 0]
        self.products = self.transposed = 0

    def start(self) -> Tensor:
        """The vectors that every method starts from, ``[batch, d]``."""
        return torch.randn(self.batch, self.d, generator=torch.Generator().manual_seed(0))

    def product(self, v: Tensor) -> Tensor:
        """``J v`` of each item, ``[batch, d]``."""
        self.products += self.batch
        return self._ask(self._jacobian, v, slice(None))

    def symmetrised(self, v: Tensor) -> Tensor:
        """``(J v + J^T v) / 2`` of each item; two products, one of them transposed."""
        self.transposed += self.batch
        return (self.product(v) + self._ask(self._transposed, v, slice(None))) / 2

    def item(self, i: int, symmetrised: bool = False) -> Callable[[Array], Array]:
        """The product of one item on an array ``[d]``, for what knows no batch."""
        rows = slice(i, i + 1)

        def ask(model: Skewed, v: Array) -> Array:
            result: Array = self._ask(model, torch.from_numpy(np.ascontiguousarray(v).reshape(1, -1)), rows)[0].numpy()
            return result

        def product(v: Array) -> Array:
            self.products += 1
            return ask(self._jacobian, v)

        def both(v: Array) -> Array:
            self.transposed += 1
            return (product(v) + ask(self._transposed, v)) / 2

        return both if symmetrised else product

    def _ask(self, model: Skewed, v: Tensor, rows: slice) -> Tensor:
        return model.exact_hessian_product(self._x[rows], 0, self._embedding.rows(rows), v).float()


class ShiftedLowRank:
    """``-I / sigma^2 + U diag(w) U^T`` in float64: the noise, and the few directions in which the data vary.

    Args:
        d: Dimension.
        rank: Columns of U, orthonormal.
        sigma: Noise.
    """

    def __init__(self, d: int = 16_384, rank: int = 100, sigma: float = 0.5) -> None:
        self.d, self.rank, self.shift = d, rank, 1 / sigma**2
        draw = torch.randn(d, rank, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        self._basis = torch.linalg.qr(draw)[0]
        self._weights = self.shift * torch.linspace(1, 0.1, rank, dtype=torch.float64)
        self.trace = float(self._weights.sum()) - d * self.shift

    def product(self, v: Tensor) -> Tensor:
        """Of each row of ``[batch, d]``."""
        return (v @ self._basis * self._weights) @ self._basis.T - self.shift * v

    def columns(self, v: Tensor, shift: float = 0.0) -> Tensor:
        """Of each column of ``[d, k]``, with ``shift`` times it added."""
        return self._basis @ (self._weights[:, None] * (self._basis.T @ v)) + (shift - self.shift) * v
