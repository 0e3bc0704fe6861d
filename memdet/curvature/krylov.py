"""Eigenvalues of the symmetric part of a Jacobian from Krylov spaces, batched over items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from memdet.curvature.estimate import Estimate
from memdet.torch_state import answers_in_own_state

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Extreme:
    """Extreme eigenvalues of the symmetric part.

    Attributes:
        value: Ritz values ``[batch, k]``, the most extreme first; float64.
        residual: Norm of ``S q - value q`` of each Ritz vector as the recurrence knows it, ``[batch, k]``. Where J is
            symmetric it is exact, and an eigenvalue lies within it; elsewhere it holds the part of J alone.
        products: Jacobian products an item.
    """

    value: Tensor
    residual: Tensor
    products: int


@answers_in_own_state
@dataclass(frozen=True)
class KrylovSpace:
    """Projection of J on the Krylov space of each item.

    Attributes:
        hessenberg: ``Q^T J Q``, ``[batch, m, m]`` float64.
        tail: Entry below it, the norm of what J adds to the space in the last step, ``[batch]``.
        values: Eigenvalues of its symmetric part ``Q^T S Q``, ascending, ``[batch, m]``.
        coordinates: Their eigenvectors in the basis, as columns, ``[batch, m, m]``.
        dimension: d of an item.
        products: m.
    """

    hessenberg: Tensor
    tail: Tensor
    values: Tensor
    coordinates: Tensor
    dimension: int
    products: int

    @property
    def weights(self) -> Tensor:
        """Gauss quadrature of the spectral measure of the start (Ubaru et al. 2017), ``[batch, m]``, summing to 1."""
        return self.coordinates[:, 0, :].square()

    @property
    def asymmetry(self) -> Tensor:
        """``norm(J - J^T) / norm(J + J^T)`` (Frobenius) within the space, ``[batch]``; 0 where J is symmetric."""
        transposed = self.hessenberg.transpose(1, 2)
        skew = torch.linalg.matrix_norm(self.hessenberg - transposed)
        ratio: Tensor = skew / torch.linalg.matrix_norm(self.hessenberg + transposed)
        return ratio

    def extreme(self, k: int = 1, which: Literal["smallest", "largest"] = "smallest") -> Extreme:
        """The ``k`` smallest or largest eigenvalues of S."""
        m = self.values.shape[1]
        if not 1 <= k <= m:
            raise ValueError(f"k = {k} eigenvalues of a Krylov space of dimension {m}: take 1 to {m}, or more steps")
        residual = self.tail[:, None] * self.coordinates[:, -1, :].abs()
        values, residual = (part if which == "smallest" else part.flip(1) for part in (self.values, residual))
        return Extreme(values[:, :k], residual[:, :k], self.products)

    def count(self, threshold: Tensor | float) -> Tensor:
        """Estimated number of eigenvalues of S below ``threshold`` (a number, or one an item), ``[batch]``.

        By quadrature from one start; exact where the space is the whole space. Several starts:
        :func:`spectral_density`.
        """
        below = self.values < (threshold[:, None] if isinstance(threshold, Tensor) else threshold)
        if self.products == self.dimension:
            return torch.where(self.values.isnan().any(dim=1), torch.nan, below.sum(dim=1).double())
        # Divided by their own sum, so that none or all below give exactly 0 or d.
        share = (self.weights * below).sum(dim=1) / self.weights.sum(dim=1)
        return self.dimension * share


@answers_in_own_state
def krylov(product: Product, start: Tensor, steps: int) -> KrylovSpace:
    """Arnoldi on every item at once, and the symmetric part of the Hessenberg matrix.

    Classical Gram-Schmidt done twice, all items in step, nothing waits for a device. The whole Hessenberg matrix H is
    kept: ``(H + H^T) / 2`` is ``Q^T S Q`` with ``S = (J + J^T) / 2``, so no transposed product is needed, while
    three-term Lanczos on a Jacobian that is not symmetric returns values outside the spectrum. An item whose space is
    exhausted goes on with a fresh direction orthogonal to it. An item with a product that is not finite gets NaN
    throughout. The basis ``[batch, steps, d]`` is the only large memory.

    Args:
        product: ``v -> J v`` for ``v`` of shape ``[batch, ...]``.
        start: Starting vectors, ``[batch, ...]``, not zero.
        steps: Number of products, at most d.

    Raises:
        ValueError: More steps than dimensions.

    Example:
        >>> scale = torch.tensor([[-3.0, -1.0, 2.0]], dtype=torch.float64)
        >>> krylov(lambda v: scale * v, torch.ones_like(scale), 3).extreme(1).value
        tensor([[-3.]], dtype=torch.float64)
    """
    shape, batch = start.shape, start.shape[0]
    d = start[0].numel()
    if not 1 <= steps <= d:
        raise ValueError(f"{steps} Krylov steps in {d} dimensions: take 1 to {d}")
    tolerance = 1e-12 if start.dtype == torch.float64 else 1e-5
    basis = start.new_zeros(batch, steps, d)
    hessenberg = torch.zeros(batch, steps + 1, steps, dtype=torch.float64, device=start.device)
    first = start.reshape(batch, d)
    basis[:, 0] = first / first.norm(dim=1, keepdim=True)
    for j in range(steps):
        known = basis[:, : j + 1]
        w = product(basis[:, j].view(shape)).reshape(batch, d).clone()  # the product may own what it returned
        size = w.norm(dim=1)
        overlap = _orthogonalise(w, known)
        rest = _orthogonalise(w, known)
        hessenberg[:, : j + 1, j] = overlap.double() + rest.double()
        norm = w.norm(dim=1)
        broken = norm <= tolerance * size
        hessenberg[:, j + 1, j] = torch.where(broken, 0.0, norm).double()
        if j + 1 < steps:
            torch.div(w, norm.clamp_min(1e-30)[:, None], out=basis[:, j + 1])
            # A breakdown is rare. To ask for one costs nothing on the CPU, and elsewhere more than to provide for it.
            if not _may_ask(start.device) or bool(broken.any()):
                basis[:, j + 1] = torch.where(broken[:, None], _fresh(known), basis[:, j + 1])
    is_finite = torch.isfinite(hessenberg).all(dim=2).all(dim=1)
    square = hessenberg[:, :steps, :]
    symmetric = torch.where(is_finite[:, None, None], (square + square.transpose(1, 2)) / 2, 0.0)  # eigh takes no NaN
    values, coordinates = torch.linalg.eigh(symmetric)
    mark = torch.where(is_finite, 0.0, torch.nan).double()
    square, coordinates = square + mark[:, None, None], coordinates + mark[:, None, None]
    return KrylovSpace(square, hessenberg[:, steps, steps - 1] + mark, values + mark[:, None], coordinates, d, steps)


@answers_in_own_state
@dataclass(frozen=True)
class SpectralDensity:
    """Spectral measure of S by stochastic Lanczos quadrature.

    Attributes:
        nodes, weights: ``[starts, batch, m]`` float64; the weights of a start sum to 1.
        dimension: d of an item.
        products: Jacobian products an item, over all starts.
    """

    nodes: Tensor
    weights: Tensor
    dimension: int
    products: int

    def trace(self, function: Callable[[Tensor], Tensor]) -> Estimate:
        """``tr function(S)``; ``function`` works on eigenvalues elementwise, ``[starts, batch, m]``."""
        total = (self.weights * function(self.nodes)).sum(dim=2) / self.weights.sum(dim=2)
        return Estimate.of_samples(self.dimension * total, self.products)

    def count(self, threshold: Tensor | float) -> Estimate:
        """Number of eigenvalues below ``threshold``, a number or one an item."""
        bound = threshold[:, None] if isinstance(threshold, Tensor) else threshold
        return self.trace(lambda nodes: (nodes < bound).double())

    def smooth(self, grid: Tensor, width: float) -> Tensor:
        """Density at ``grid`` ``[points]`` with Gaussians of standard deviation ``width``, ``[batch, points]``."""
        z = (grid.double()[None, None, None, :] - self.nodes[..., None]) / width
        kernel = torch.exp(-z.square() / 2) / (width * (2 * torch.pi) ** 0.5)
        density: Tensor = (self.weights[..., None] * kernel).sum(dim=2).mean(dim=0)
        return density


@answers_in_own_state
def spectral_density(product: Product, starts: Sequence[Tensor], steps: int) -> SpectralDensity:
    """Stochastic Lanczos quadrature (Ubaru, Chen, Saad 2017) over one Krylov space a start.

    Args:
        product: ``v -> J v`` for ``v`` of shape ``[batch, ...]``.
        starts: Random vectors ``[batch, ...]``, Rademacher or Gaussian.
        steps: Products a start, at most d.
    """
    spaces = [krylov(product, start, steps) for start in starts]
    return SpectralDensity(
        torch.stack([space.values for space in spaces]),
        torch.stack([space.weights for space in spaces]),
        spaces[0].dimension,
        steps * len(spaces),
    )


def _may_ask(device: torch.device) -> bool:
    """Whether the host can look at a number without waiting for others."""
    return device.type == "cpu"


def _orthogonalise(w: Tensor, basis: Tensor) -> Tensor:
    """Take ``Q Q^T w`` from ``w`` ``[batch, d]`` in place; return ``Q^T w``, ``[batch, j]``."""
    overlap = torch.bmm(basis, w[:, :, None])
    w.unsqueeze(1).baddbmm_(overlap.transpose(1, 2), basis, alpha=-1)
    return overlap.squeeze(2)


def _fresh(basis: Tensor) -> Tensor:
    """A unit vector orthogonal to the basis of each item, from the axis that the basis covers least, ``[batch, d]``.

    A drawn vector could be the one that the caller started from.
    """
    axis = torch.linalg.vector_norm(basis, dim=1).argmin(dim=1)
    w = torch.zeros_like(basis[:, 0]).scatter_(1, axis[:, None], 1.0)
    _orthogonalise(w, basis)
    _orthogonalise(w, basis)
    unit: Tensor = w / w.norm(dim=1, keepdim=True).clamp_min(1e-30)
    return unit
