"""The second-order score-matching term, and what it is said to improve: the symmetry of the Jacobian."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Network = Callable[[Tensor], Tensor]


def second_order_term(network: Network, x: Tensor, noise: Tensor, sigma: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """One-probe estimate of ``|| sigma^2 H + I - l l^T ||_F^2 / d`` with ``l = sigma s + eps``, differentiable.

    H is the Jacobian of the score, so ``sigma^2 H = -sigma J`` with J that of the predicted noise, and
    ``l = noise - prediction``. The term is least where H is the Hessian of the log density of the noisy data (Lu et
    al. 2022, "Maximum likelihood training for score-based diffusion ODEs by high order denoising score matching").
    As there, l is a constant: no gradient flows through it. A matrix and its transpose have the same norm, so the
    probe is multiplied from the left, by reverse AD.

    Args:
        network: Predicts the noise of ``x``.
        x: Noisy samples, ``[batch, ...]``.
        noise: What was added to them, the shape of ``x``.
        sigma: Its standard deviation, ``[batch]``.
        v: Random signs, the shape of ``x``; the mean over them is the squared Frobenius norm.

    Returns:
        The term, a scalar, and the predicted noise.
    """
    x = x.detach().requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels have no second derivative
        prediction = network(x)
        (product,) = torch.autograd.grad(prediction, x, v, create_graph=True)
    residual, probe = (noise - prediction.detach()).flatten(1), v.flatten(1)
    error = probe - sigma[:, None] * product.flatten(1) - residual * (residual * probe).sum(1, keepdim=True)
    return error.square().mean(), prediction


def jacobian(network: Network, x: Tensor) -> Tensor:
    """Whole Jacobian of each item by reverse AD, ``[batch, d, d]``; d products of the batch."""
    x = x.detach().requires_grad_(True)
    output = network(x).flatten(1)
    rows = [torch.autograd.grad(output[:, row].sum(), x, retain_graph=True)[0] for row in range(output.shape[1])]
    return torch.stack([row.flatten(1) for row in rows], dim=1)


def asymmetry(matrix: Tensor) -> Tensor:
    """``|| J - J^T ||_F / || J + J^T ||_F`` of each matrix ``[batch, d, d]``: 0 where symmetric, 1 where half is skew.

    Example:
        >>> asymmetry(torch.tensor([[[1.0, 2.0], [2.0, 1.0]]])).item()
        0.0
    """
    transposed = matrix.transpose(1, 2)
    skew, symmetric = (matrix - transposed).flatten(1), (matrix + transposed).flatten(1)
    share: Tensor = skew.norm(dim=1) / symmetric.norm(dim=1)
    return share
