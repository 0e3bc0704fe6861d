"""Eigenvalues of the symmetric part of a Jacobian from Krylov spaces, batched over items."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def ritz(product: Callable[[Tensor], Tensor], start: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Ritz values of the symmetric part ``S = (J + J^T) / 2`` of each item, and their weights.

    Arnoldi with classical Gram-Schmidt done twice. The whole Hessenberg matrix is kept: where J is not symmetric its
    symmetric part ``(H + H^T) / 2`` is the projection of S on the Krylov space, so no transposed product is needed,
    while three-term Lanczos would return values outside the spectrum.

    Args:
        product: ``v -> J v`` for ``v`` of shape ``[batch, ...]``.
        start: Starting vectors, ``[batch, ...]``.
        steps: Number of products; at most the dimension of an item is used.

    Returns:
        Ritz values ``[batch, steps]`` ascending, and the squared first components of their vectors ``[batch, steps]``:
        the weights of the Gauss quadrature of the spectral measure of ``start`` (Ubaru et al. 2017). Float64.
    """
    shape, batch = start.shape, start.shape[0]
    d = start[0].numel()
    steps = min(steps, d)
    basis = start.new_zeros(batch, steps + 1, d)
    hessenberg = torch.zeros(batch, steps + 1, steps, dtype=torch.float64, device=start.device)
    first = start.reshape(batch, d)
    basis[:, 0] = first / first.norm(dim=1, keepdim=True)
    for j in range(steps):
        w = product(basis[:, j].view(shape)).reshape(batch, d)
        size = w.norm(dim=1)
        known = basis[:, : j + 1]
        for _ in range(2):
            overlap = (known @ w[:, :, None]).squeeze(2)
            w = w - (overlap[:, None, :] @ known).squeeze(1)
            hessenberg[:, : j + 1, j] += overlap.double()
        norm = w.norm(dim=1)
        # An invariant space is exhausted: go on with a fresh direction, and no link to it.
        broken = norm <= 1e-5 * size if w.dtype == torch.float32 else norm <= 1e-12 * size
        fresh = _orthogonal(known)
        basis[:, j + 1] = torch.where(broken[:, None], fresh, w / norm.clamp_min(1e-30)[:, None])
        hessenberg[:, j + 1, j] = torch.where(broken, 0.0, norm).double()
    square = hessenberg[:, :steps, :]
    values, vectors = torch.linalg.eigh((square + square.transpose(1, 2)) / 2)
    return values, vectors[:, 0, :].square()


def _orthogonal(basis: Tensor) -> Tensor:
    """A unit vector orthogonal to the basis of each item, ``[batch, d]``; zero where the basis spans everything.

    It comes from the axis that the basis covers least: a drawn vector could be the one that the caller started from.
    """
    axis = torch.linalg.vector_norm(basis, dim=1).argmin(dim=1)
    w = torch.nn.functional.one_hot(axis, basis.shape[2]).to(basis)
    for _ in range(2):
        w = w - ((basis @ w[:, :, None]).transpose(1, 2) @ basis).squeeze(1)
    norm = w.norm(dim=1, keepdim=True)
    return torch.where(norm > 1e-6, w / norm.clamp_min(1e-30), 0.0)
