"""Noise schedules: alpha and sigma of every timestep, and the timesteps of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

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
        return cls.vp(np.cumprod(1 - betas), offset=offset)

    @classmethod
    def vp(cls, alphas_cumprod: ArrayLike, offset: int = 1) -> NoiseSchedule:
        """Variance-preserving schedule: ``alpha^2`` is given, ``sigma^2 = 1 - alpha^2``.

        Args:
            alphas_cumprod: ``[T]``, the products of ``1 - beta`` up to each timestep, as schedulers of diffusers keep
                them; an array, a list or a tensor on the CPU.
            offset: Added to evenly spaced timesteps.

        Raises:
            ValueError: Not a falling sequence of numbers between 0 and 1, neither of them included.

        Example:
            >>> NoiseSchedule.vp([0.96, 0.36]).alpha(1), NoiseSchedule.vp([0.96, 0.36]).sigma(1)
            (0.6, 0.8)
        """
        squares = np.asarray(alphas_cumprod, dtype=np.float64)
        if squares.ndim != 1 or not len(squares) or not ((squares > 0) & (squares < 1)).all():
            raise ValueError("alphas_cumprod is a sequence of numbers between 0 and 1, neither of them included")
        if (np.diff(squares) > 0).any():
            raise ValueError("alphas_cumprod falls with the timestep: noise grows")
        return cls(np.sqrt(squares), np.sqrt(1 - squares), offset=offset)

    @classmethod
    def rectified_flow(cls, length: int = 1_000) -> NoiseSchedule:
        """Straight paths: at index ``i`` the time is ``(i + 1) / length``, ``alpha = 1 - time``, ``sigma = time``."""
        time = np.arange(1, length + 1) / length
        return cls(1 - time, time)

    def __repr__(self) -> str:
        length, first, last = len(self.alphas), self.sigmas[0], self.sigmas[-1]
        return f"{type(self).__name__}({length} timesteps, sigma {first:.4g} to {last:.4g})"

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
