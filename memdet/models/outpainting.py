"""What a model puts around a picture: deterministic steps in which the known pixels are set at each of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from memdet.errors import NotApplicableError
from memdet.models.schedule import NoiseSchedule

Predict = Callable[[Tensor, int], Tensor]
"""Noise prediction at a noisy picture and a timestep."""


def outpainted(  # the picture, the model, and where both start
    image: Tensor,
    known: Tensor,
    eps: Predict,
    schedule: NoiseSchedule,
    noise: Callable[[int], Tensor],
    *,
    steps: int,
    passes: int = 1,
) -> Tensor:
    """The picture with new pixels where it was not known, ``[n, channels, height, width]``.

    At each timestep the known pixels are ``alpha image + sigma noise``, with the noise that the trajectory starts from;
    then comes a DDIM step. With more passes the step's end is diffused back to where it came from and the step made
    again, so that what is new can fit what is known better (Lugmayr et al., "RePaint", CVPR 2022, with jumps of 1).

    Args:
        image: Clean, in the space of the model.
        known: Which pixels are kept, ``[height, width]``, bool.
        eps: Of the model.
        schedule: Of the model.
        noise: Independent draws of standard noise, shaped as the image; the trajectory starts from draw 0.
        steps: Of the trajectory.
        passes: Of each step.

    Raises:
        NotApplicableError: The trajectory starts at pure noise, where a prediction of noise says nothing.
    """
    times, landings = schedule.timesteps(steps), schedule.landings(steps)
    first, draw = noise(0), 0
    x = first * schedule.start_scale(steps)
    for t, (ahead, rest) in zip(times, landings, strict=True):
        if schedule.is_pure_noise(t):
            raise NotApplicableError(f"the trajectory starts at pure noise (t = {t})")
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        for turn in range(passes):
            if turn:
                draw += 1
                back = alpha / ahead
                x = back * x + max(sigma**2 - (back * rest) ** 2, 0.0) ** 0.5 * noise(draw)
            x = torch.where(known, alpha * image + sigma * first, x)
            predicted = eps(x, t)
            x = ahead * schedule.limited((x - sigma * predicted) / alpha) + rest * predicted
    return torch.where(known, image, x)


def border_of(height: int, width: int, pixels: int, device: torch.device | str = "cpu") -> Tensor:
    """Which pixels lie in a frame of so many pixels, ``[height, width]``, bool.

    Example:
        >>> border_of(4, 4, 1).int().tolist()
        [[1, 1, 1, 1], [1, 0, 0, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    """
    frame = torch.ones(height, width, dtype=torch.bool, device=device)
    frame[pixels : height - pixels, pixels : width - pixels] = False
    return frame
