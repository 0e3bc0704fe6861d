"""Noise schedules: alpha and sigma of every timestep, and the timesteps of a trajectory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor


ROUNDING = 1e-6  # of schedules that were kept in float32
# Alpha over sigma. Some samplers of flows start 1e-6 below noise, lest they divide by 0; the cosine schedule has 5e-5.
PURE_NOISE = 2e-6


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """``x_t = alphas[t] x_0 + sigmas[t] eps`` for integer timesteps ``t``, noisier as ``t`` grows.

    :meth:`vp`, :meth:`rectified_flow`, :meth:`ve` and :meth:`edm` make the usual ones.

    Attributes:
        alphas, sigmas: ``[T]`` in float64; an array, a list or a tensor is taken.
        final_alpha, final_sigma: What a trajectory's last step lands on.
        offset: Added to evenly spaced timesteps (``steps_offset`` of diffusers).

    Raises:
        UserError: An offset that is no whole number from 0; alphas and sigmas that are no numbers from 0, differ in
            number, or are less noisy at a later timestep.
    """

    alphas: NDArray[np.float64]
    sigmas: NDArray[np.float64]
    final_alpha: float = 1.0
    final_sigma: float = 0.0
    offset: int = 1

    def __post_init__(self) -> None:
        if not _is_whole(self.offset) or self.offset < 0:
            raise UserError(f"`offset` is {self.offset!r}; write a whole number from 0, which is added to timesteps")
        for name in ("alphas", "sigmas"):
            object.__setattr__(self, name, _numbers(getattr(self, name), name))
        alphas, sigmas = self.alphas, self.sigmas
        if alphas.ndim != 1 or alphas.shape != sigmas.shape or not len(alphas):
            raise UserError(
                f"`alphas` {list(alphas.shape)} and `sigmas` {list(sigmas.shape)}: give a number a timestep"
            )
        if not np.isfinite([alphas, sigmas]).all() or (alphas < 0).any() or (sigmas < 0).any():
            raise UserError("`alphas` and `sigmas` are numbers from 0")
        before, after = sigmas[:-1] * alphas[1:], sigmas[1:] * alphas[:-1]  # sigma / alpha grows; alpha may be 0
        if (after < before * (1 - ROUNDING)).any():
            raise UserError("noise grows with the timestep, sigma / alpha; turn `alphas` and `sigmas` round")

    @classmethod
    def from_betas(cls, betas: ArrayLike, offset: int = 1) -> NoiseSchedule:
        """Variance-preserving schedule: ``alpha^2 = prod (1 - beta)``, ``sigma^2 = 1 - alpha^2``.

        Raises:
            UserError: As :meth:`vp`.
        """
        return cls.vp(np.cumprod(1 - _numbers(betas, "betas")), offset=offset)

    @classmethod
    def vp(cls, alphas_cumprod: ArrayLike, offset: int = 1) -> NoiseSchedule:
        """Variance-preserving schedule: ``alpha^2`` is given, ``sigma^2 = 1 - alpha^2``.

        Args:
            alphas_cumprod: ``[T]``, the products of ``1 - beta`` up to each timestep, as schedulers of diffusers keep
                them; an array, a list or a tensor.
            offset: Added to evenly spaced timesteps.

        Raises:
            UserError: Not a falling sequence of numbers between 0 and 1, neither of them included, or a bad offset.

        Example:
            >>> NoiseSchedule.vp([0.96, 0.36]).alpha(1), NoiseSchedule.vp([0.96, 0.36]).sigma(1)
            (0.6, 0.8)
        """
        squares = _numbers(alphas_cumprod, "alphas_cumprod")
        if squares.ndim != 1 or not len(squares) or not ((squares > 0) & (squares < 1)).all():
            raise UserError("`alphas_cumprod` is a sequence of numbers between 0 and 1, neither of them included")
        if (np.diff(squares) > 0).any():
            raise UserError("`alphas_cumprod` falls with the timestep, since noise grows; turn the sequence round")
        return cls(np.sqrt(squares), np.sqrt(1 - squares), offset=offset)

    @classmethod
    def rectified_flow(cls, length: int = 1_000) -> NoiseSchedule:
        """Straight paths: at index ``i`` the time is ``(i + 1) / length``, ``alpha = 1 - time``, ``sigma = time``.

        Raises:
            UserError: A length that is no whole number from 1.
        """
        if not _is_whole(length) or length < 1:
            raise UserError(f"`length` is {length!r}; write a whole number of timesteps from 1")
        time = np.arange(1, length + 1) / length
        return cls(1 - time, time)

    @classmethod
    def ve(cls, sigmas: ArrayLike, offset: int = 0) -> NoiseSchedule:
        """Variance-exploding schedule: noise is added to samples that are not scaled down, ``alpha = 1``.

        Trajectories start from noise of the noisiest sample's standard deviation.

        Args:
            sigmas: ``[T]``, the standard deviation of the noise at each timestep, rising; an array, a list or a tensor.
            offset: Added to evenly spaced timesteps.

        Raises:
            UserError: Not a rising sequence of numbers above 0, or a bad offset.

        Example:
            >>> schedule = NoiseSchedule.ve([0.1, 1.0, 10.0])
            >>> schedule.timesteps(3), schedule.alpha(2), schedule.sigma(2)
            ([2, 1, 0], 1.0, 10.0)
        """
        noise = _numbers(sigmas, "sigmas")
        if noise.ndim != 1 or not len(noise) or not ((noise > 0) & np.isfinite(noise)).all():
            raise UserError("`sigmas` is a sequence of numbers above 0; leave out the 0 that a trajectory ends at")
        if (np.diff(noise) < 0).any():
            raise UserError("`sigmas` rises with the timestep, since noise grows; turn the sequence round")
        return cls(np.ones_like(noise), noise, offset=offset)

    @classmethod
    def edm(
        cls, length: int = 1_000, *, sigma_min: float = 0.002, sigma_max: float = 80.0, rho: float = 7.0
    ) -> NoiseSchedule:
        """The noise levels of Karras et al., arXiv 2206.00364, equation 5: evenly spaced in ``sigma^(1 / rho)``.

        Their denoiser ``D(x; sigma)`` is the prediction ``x0`` on this schedule.

        Args:
            length: Number of timesteps.
            sigma_min, sigma_max: Noise of the first timestep and of the last.
            rho: How much denser low noise is.

        Raises:
            UserError: A length that is no whole number from 2, or levels that are not ``0 < sigma_min < sigma_max``.

        Example:
            >>> schedule = NoiseSchedule.edm(3, sigma_min=1, sigma_max=27, rho=3)
            >>> [round(schedule.sigma(t), 6) for t in range(3)]
            [1.0, 8.0, 27.0]
        """
        if not _is_whole(length) or length < 2:
            raise UserError(f"`length` is {length!r}; write a whole number of timesteps from 2")
        first, last, power = (
            float(_numbers(value, name).item() if np.ndim(value) == 0 else math.nan)
            for value, name in ((sigma_min, "sigma_min"), (sigma_max, "sigma_max"), (rho, "rho"))
        )
        if not 0 < first < last < math.inf or not 0 < power < math.inf:
            raise UserError(
                f"levels of noise lie between `sigma_min` {sigma_min!r} and `sigma_max` {sigma_max!r}, "
                f"0 < sigma_min < sigma_max, and `rho` {rho!r} is above 0"
            )
        return cls.ve(np.linspace(first ** (1 / power), last ** (1 / power), length) ** power)

    def __repr__(self) -> str:
        length, first, last = len(self.alphas), self.sigmas[0], self.sigmas[-1]
        return f"{type(self).__name__}({length} timesteps, sigma {first:.4g} to {last:.4g})"

    def check(self, t: float) -> None:
        """Refuse what is no timestep of this schedule; Python would count a negative one from the end.

        Raises:
            ValueError: It is none.
        """
        if not _is_whole(t) or not 0 <= t < len(self.alphas):
            raise ValueError(f"`t` is {t!r}; timesteps of this schedule are whole numbers, 0 to {len(self.alphas) - 1}")

    def alpha(self, t: float) -> float:
        """Factor of the clean sample at timestep ``t``; ValueError if that is none."""
        self.check(t)
        return float(self.alphas[int(t)])

    def sigma(self, t: float) -> float:
        """Standard deviation of the noise at timestep ``t``; ValueError if that is none."""
        self.check(t)
        return float(self.sigmas[int(t)])

    def is_pure_noise(self, t: float) -> bool:
        """Whether nothing of the clean sample is left at a timestep, as in flow models and at zero terminal SNR."""
        return self.alpha(t) <= PURE_NOISE * self.sigma(t)

    def start_scale(self, steps: int) -> float:
        """Standard deviation of the starting noise of a trajectory: 1 where ``alpha^2 + sigma^2`` is about 1.

        Where noise is added to samples that are not scaled down (variance exploding, EDM), it is that of the noisiest
        sample.
        """
        first = self.timesteps(steps)[0]
        scale = math.hypot(self.alpha(first), self.sigma(first))
        return 1.0 if 0.7 <= scale <= 1.3 else scale

    def timesteps(self, steps: int) -> list[int]:
        """Timesteps of a trajectory, noisiest first: evenly spaced, as diffusers' DDIM with leading spacing.

        An offset that would lead beyond the schedule is smaller: no timestep comes twice.

        Raises:
            UserError: More steps than the schedule holds, or none.
        """
        length = len(self.alphas)
        if not _is_whole(steps) or not 1 <= steps <= length:
            raise UserError(f"a trajectory has 1 to {length} steps on this schedule, not {steps!r}")
        spaced = np.arange(steps) * (length // steps)
        return [int(t) for t in (spaced + min(self.offset, length - 1 - spaced[-1]))[::-1]]

    def landings(self, steps: int) -> list[tuple[float, float]]:
        """Alpha and sigma that each step of a trajectory ends at: those of the next timestep, at last the final ones.

        Raises:
            UserError: As :meth:`timesteps`.
        """
        levels = [(self.alpha(t), self.sigma(t)) for t in self.timesteps(steps)]
        return [*levels[1:], (self.final_alpha, self.final_sigma)]

    def limited(self, x0: Tensor) -> Tensor:
        """The clean sample that a step goes on with, of the one that was predicted, ``[batch, ...]``: the same.

        A pipeline's scheduler may clip it.
        """
        return x0


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number, of Python or NumPy; truth values are none."""
    return isinstance(value, int | Integral) and not isinstance(value, bool)


def _numbers(values: Any, name: str) -> NDArray[np.float64]:
    """An array of a sequence; of a tensor the numbers alone, wherever it is."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UserError(f"`{name}` is a sequence of numbers, not {type(values).__name__}") from None
