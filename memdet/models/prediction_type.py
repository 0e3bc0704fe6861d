"""What a network predicts, and how that becomes noise, clean sample and score.

Everywhere ``x_t = alpha x_0 + sigma eps``. Rectified flow has ``alpha = 1 - t``, ``sigma = t``. The denoiser of EDM
(Karras et al., arXiv 2206.00364) is ``x0`` with ``alpha = 1``; it sees ``y = x / alpha`` at noise ``sigma / alpha``.
"""

from __future__ import annotations

from typing import Literal, get_args

from torch import Tensor

PredictionType = Literal["eps", "x0", "v", "flow"]
PREDICTION_TYPES: tuple[PredictionType, ...] = get_args(PredictionType)


def eps_from_output(output: Tensor, x: Tensor, alpha: float, sigma: float, kind: PredictionType) -> Tensor:
    """Noise prediction from what the network returned at ``x``.

    Args:
        output: Network output, the shape of ``x``.
        x: Noisy input.
        alpha, sigma: Of the timestep; ``sigma > 0``.
        kind: ``eps`` (noise), ``x0`` (clean sample), ``v`` (``alpha eps - sigma x_0``) or ``flow`` (``eps - x_0``).

    Returns:
        Predicted noise, the shape of ``x``. The score is minus this over ``sigma``.
    """
    if kind == "eps":
        return output
    if kind == "x0":
        return (x - alpha * output) / sigma
    if kind == "v":
        return alpha * output + sigma * x
    return (x + alpha * output) / (alpha + sigma)


def output_from_eps(eps: Tensor, x: Tensor, alpha: float, sigma: float, kind: PredictionType) -> Tensor:
    """Inverse of :func:`eps_from_output`; needs ``alpha > 0`` unless ``kind`` is ``eps``."""
    if kind == "eps":
        return eps
    x0 = (x - sigma * eps) / alpha
    if kind == "x0":
        return x0
    if kind == "v":
        return alpha * eps - sigma * x0
    return eps - x0
