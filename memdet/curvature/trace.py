"""Traces, norms and diagonals from random probes, batched over items.

Probes are Rademacher vectors: the variance of Hutchinson's estimator then sees off-diagonal entries alone. For a
difference of branches take the product of the difference, so that both branches meet the same probes. Nothing waits
for a device: an item with a product that is not finite gets a value that is not finite.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from memdet.curvature.estimate import Estimate
from memdet.torch_state import answers_in_own_state

Product = Callable[[Tensor], Tensor]


@answers_in_own_state
def hutchinson(product: Product, probes: Sequence[Tensor]) -> Estimate:
    """``tr J`` as the mean of ``v . J v`` (Hutchinson 1990).

    Args:
        product: ``v -> J v``.
        probes: Random signs, ``[batch, ...]`` each.

    Example:
        >>> signs = torch.tensor([[1.0, -1.0]])
        >>> float(hutchinson(lambda v: 3 * v, [signs]).value)
        6.0
    """
    forms = torch.stack([_dot(v, product(v)) for v in probes])
    return Estimate.of_samples(forms, len(probes))


@answers_in_own_state
def frobenius(product: Product, probes: Sequence[Tensor]) -> Estimate:
    """Frobenius norm of J, the root of the mean of ``norm(J v)^2``; its standard error to first order."""
    squares = torch.stack([_dot(w, w) for w in map(product, probes)])
    mean = Estimate.of_samples(squares, len(probes))
    norm = mean.value.sqrt()
    return Estimate(norm, mean.standard_error / (2 * norm.clamp_min(1e-300)), len(probes))


@answers_in_own_state
def diagonal(product: Product, probes: Sequence[Tensor]) -> Estimate:
    """Diagonal of J as the mean of ``v * J v`` (Bekas et al. 2007), ``[batch, ...]``."""
    samples = torch.stack([v.double() * product(v).double() for v in probes])
    return Estimate.of_samples(samples, len(probes))


@answers_in_own_state
def hutch_plus_plus(product: Product, probes: Sequence[Tensor], shift: Tensor | float = 0.0) -> Estimate:
    """Hutch++ (Meyer et al. 2021) on ``J + shift I``: exact on the range of a sketch, Hutchinson on the rest.

    A third of the probes makes the sketch, as many products go into its trace, the rest into the remainder. The Hessian
    of a noisy density is close to ``-I / sigma^2`` plus low rank: with ``shift = 1 / sigma^2`` the sketch catches it.

    Args:
        product: ``v -> J v``.
        probes: Random signs, ``[batch, ...]`` each; at least 2. Makes ``probes + probes // 2`` products, fewer where
            the sketch has more columns than dimensions.
        shift: A number, or one an item.

    Returns:
        Trace of J itself. The standard error is that of the remainder.

    Raises:
        ValueError: Fewer than two probes.
    """
    if len(probes) < 2:
        raise ValueError("Hutch++ needs at least two probes: one for the sketch, one for the rest")
    apply, shift = _shifted(product, probes[0], shift)
    sketches = len(probes) // 2
    omega = _stack(probes[:sketches])
    q, _ = torch.linalg.qr(apply(omega))
    captured = (q * apply(q)).sum(dim=(1, 2))
    g = _stack(probes[sketches:])
    g = g - q @ (q.transpose(1, 2) @ g)
    forms = (g * apply(g)).sum(dim=1)
    rest = Estimate.of_samples(forms.T, len(probes) + q.shape[2])
    return Estimate(captured + rest.value - shift * omega.shape[1], rest.standard_error, rest.products)


@answers_in_own_state
def xtrace(product: Product, probes: Sequence[Tensor], shift: Tensor | float = 0.0) -> Estimate:
    """XTrace (Epperly, Tropp, Webber 2024) on ``J + shift I``: every probe sketches for all others and tests them.

    Each probe in turn is left out of the sketch and used for the remainder; the estimate is the mean over who is left
    out, and J need not be symmetric.

    Args:
        product: ``v -> J v``.
        probes: Random signs, ``[batch, ...]`` each; 2 to d. Makes twice as many products.
        shift: A number, or one an item.

    Returns:
        Trace of J itself.

    Raises:
        ValueError: Fewer than two probes, or more than dimensions.
    """
    d = probes[0][0].numel()
    if not 2 <= len(probes) <= d:
        raise ValueError(f"XTrace with {len(probes)} probes in {d} dimensions: take 2 to {d}")
    apply, shift = _shifted(product, probes[0], shift)
    omega = _stack(probes)
    y = apply(omega)
    q, r = torch.linalg.qr(y)
    z = apply(q)
    # Column i of s is the direction, within the span of q, that only probe i contributes.
    eye = torch.eye(r.shape[1], dtype=r.dtype, device=r.device)
    tiny = torch.finfo(r.dtype).eps * r.abs().amax(dim=(1, 2), keepdim=True).clamp_min(1e-300)
    diagonal_of_r = r.diagonal(dim1=1, dim2=2)[:, :, None]
    r = r + eye * torch.where(diagonal_of_r.abs() < tiny, tiny, torch.zeros_like(tiny))  # a sketch larger than the rank
    s = torch.linalg.solve_triangular(r.transpose(1, 2), eye.expand_as(r), upper=False)
    s = s / torch.linalg.vector_norm(s, dim=1, keepdim=True)
    h = q.transpose(1, 2) @ z
    captured = h.diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True) - (s * (h @ s)).sum(dim=1)
    w = q.transpose(1, 2) @ omega
    w = w - s * (s * w).sum(dim=1, keepdim=True)  # each probe in the span of the others' sketch
    forms = ((omega - q @ w) * (y - z @ w)).sum(dim=1)
    samples = captured + forms - shift[:, None] * d
    return Estimate.of_samples(samples.T, 2 * len(probes))


def _shifted(product: Product, like: Tensor, shift: Tensor | float) -> tuple[Product, Tensor]:
    """``J + shift I`` on float64 columns ``[batch, d, k]``, and the shift of each item ``[batch]``."""
    shift = torch.zeros(len(like), dtype=torch.float64, device=like.device) + shift

    def apply(columns: Tensor) -> Tensor:
        result = shift[:, None, None] * columns
        for k in range(columns.shape[2]):
            result[:, :, k] += product(columns[:, :, k].to(like.dtype).reshape(like.shape)).double().flatten(1)
        return result

    return apply, shift


def _stack(probes: Sequence[Tensor]) -> Tensor:
    return torch.stack([probe.double().flatten(1) for probe in probes], dim=2)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() * b.double()).flatten(1).sum(dim=1)
