"""Noise schedules: alpha and sigma of every timestep, and the timesteps of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memdet.errors import UserError


@dataclass(frozen=True)
class NoiseSchedule:
    """``x_t = alphas[t] x_0 + sigmas[t] eps`` for integer timesteps ``t``, noisier as ``t`` grows.

    Attributes:
        alphas, sigmas: ``[T]`` in float64.
        final_alpha, final_sigma: What a trajectory's last step lands on.
        offset: Added to evenly spaced timesteps (``steps_offset`` of diffusers).
    """

    alphas: NDArray[np.float64]
    sigmas: NDArray[np.float64]
    final_alpha: float = 1.0
    final_sigma: float = 0.0
    offset: int = 1

    @classmethod
    def from_betas(cls, betas: NDArray[np.float64], offset: int = 1) -> NoiseSchedule:
        """Variance-preserving schedule: ``alpha^2 = prod (1 - beta)``, ``sigma^2 = 1 - alpha^2``."""
        alphas_cumprod = np.cumprod(1 - betas)
        return cls(np.sqrt(alphas_cumprod), np.sqrt(1 - alphas_cumprod), offset=offset)

    @classmethod
    def rectified_flow(cls, length: int = 1_000) -> NoiseSchedule:
        """Straight paths: at index ``i`` the time is ``(i + 1) / length``, ``alpha = 1 - time``, ``sigma = time``."""
        time = np.arange(1, length + 1) / length
        return cls(1 - time, time)

    def alpha(self, t: int) -> float:
        """Factor of the clean sample at timestep ``t``."""
        return float(self.alphas[t])

    def sigma(self, t: int) -> float:
        """Standard deviation of the noise at timestep ``t``."""
        return float(self.sigmas[t])

    def timesteps(self, steps: int) -> list[int]:
        """Timesteps of a trajectory, noisiest first: evenly spaced, as diffusers' DDIM with leading spacing.

        Raises:
            UserError: More steps than the schedule holds, or none.
        """
        length = len(self.alphas)
        if not 1 <= steps <= length:
            raise UserError(f"a trajectory has 1 to {length} steps on this schedule, not {steps}")
        spaced = np.arange(steps) * (length // steps) + self.offset
        return [int(t) for t in np.minimum(spaced, length - 1)[::-1]]
