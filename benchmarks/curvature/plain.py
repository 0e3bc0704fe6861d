"""What one would write from a textbook in a few lines."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]


def three_term_lanczos(product: Product, start: Tensor, steps: int) -> Tensor:
    """Smallest Ritz value of each item, batched, nothing orthogonalised but against the last two vectors."""
    previous, q = torch.zeros_like(start), start / start.norm(dim=1, keepdim=True)
    alphas, betas = [], [torch.zeros(len(start), 1)]
    for _ in range(steps):
        w = product(q) - betas[-1] * previous
        alphas.append((w * q).sum(dim=1, keepdim=True))
        w -= alphas[-1] * q
        betas.append(w.norm(dim=1, keepdim=True))
        previous, q = q, w / betas[-1]
    below = torch.cat(betas[1:-1], dim=1).double()
    matrix = torch.cat(alphas, dim=1).double().diag_embed() + below.diag_embed(1) + below.diag_embed(-1)
    return torch.linalg.eigvalsh(matrix)[:, 0]


def complex_arnoldi(product: Product, start: Tensor, steps: int) -> Tensor:
    """Hessenberg matrix of one item: complex128, modified Gram-Schmidt, a vector at a time."""
    basis = [(start / start.norm()).to(torch.complex128)]
    hessenberg = torch.zeros(steps + 1, steps, dtype=torch.complex128)
    for j in range(steps):
        w = product(basis[j].real.to(start.dtype)).to(torch.complex128)
        for i, q in enumerate(basis):
            hessenberg[i, j] = torch.vdot(q, w)
            w = w - hessenberg[i, j] * q
        hessenberg[j + 1, j] = w.norm()
        basis.append(w / hessenberg[j + 1, j])
    return hessenberg[:steps]
