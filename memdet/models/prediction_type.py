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


def x0_from_output(output: Tensor, x: Tensor, alpha: float, sigma: float, kind: PredictionType) -> Tensor:
    """Clean sample from what the network returned at ``x``.

    At pure noise, ``alpha = 0``, a prediction of noise says nothing of the clean sample; every other type does.

    Args:
        output: Network output, the shape of ``x``.
        x: Noisy input.
        alpha, sigma: Of the timestep; ``alpha > 0`` where ``kind`` is ``eps``.
        kind: As for :func:`eps_from_output`.

    Example:
        >>> import torch
        >>> noise = torch.tensor([[2.0]])  # a flow model at pure noise, whose clean sample is 5
        >>> x0_from_output(noise - 5.0, noise, 0.0, 1.0, "flow")
        tensor([[5.]])
    """
    if kind == "eps":
        return (x - sigma * output) / alpha
    if kind == "x0":
        return output
    if kind == "v":
        return (alpha * x - sigma * output) / (alpha**2 + sigma**2)
    return (x - sigma * output) / (alpha + sigma)


def relative_score(output: Tensor, sigma: float, kind: PredictionType) -> Tensor:
    """The score over ``alpha``, less what the noisy sample and the time decide alone: for differences of branches.

    Pure noise carries no condition: at ``alpha = 0`` the scores of both branches are ``-x / sigma^2``. The outputs of a
    network that predicts no noise differ all the same, and this is finite there. Of two branches at one place it
    differs by the difference of their scores over ``alpha``; for noise prediction by that of the scores themselves.

    Args:
        output: Network output.
        sigma: Of the timestep.
        kind: As for :func:`eps_from_output`.
    """
    return output / sigma**2 if kind == "x0" else -output / sigma


def output_from_x0(x0: Tensor, x: Tensor, alpha: float, sigma: float, kind: PredictionType) -> Tensor:
    """Inverse of :func:`x0_from_output`; needs ``sigma > 0`` unless ``kind`` is ``x0``, and nothing of ``alpha``."""
    if kind == "x0":
        return x0
    eps = (x - alpha * x0) / sigma
    if kind == "eps":
        return eps
    return alpha * eps - sigma * x0 if kind == "v" else eps - x0


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
