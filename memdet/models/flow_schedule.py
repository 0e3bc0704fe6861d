"""Noise of rectified-flow models, at the times and levels of a pipeline's own scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Real

import numpy as np

from memdet.errors import UserError
from memdet.models.schedule import NoiseSchedule

LENGTH = 1_000
Levels = tuple[Sequence[float], Sequence[float]]


class FlowSchedule(NoiseSchedule):
    """Straight paths: at time t, from 0 to 1,000, ``alpha = 1 - t / 1000`` and ``sigma = t / 1000``.

    Times are numbers, not only whole ones, as flow schedulers give them.

    Args:
        levels: From a number of steps to the scheduler's timesteps and its sigmas, noisiest first; the sigmas have one
            more, that of the last landing.

    Example:
        >>> schedule = FlowSchedule(lambda steps: ([1000.0, 500.0], [1.0, 0.5, 0.0]))
        >>> schedule.timesteps(2), schedule.landings(2), schedule.alpha(250.0)
        ([1000.0, 500.0], [(0.5, 0.5), (1.0, 0.0)], 0.75)
    """

    _levels: Callable[[int], Levels]
    _known: dict[int, Levels]

    def __init__(self, levels: Callable[[int], Levels]) -> None:
        time = np.arange(LENGTH + 1) / LENGTH
        super().__init__(1 - time, time, offset=0)
        object.__setattr__(self, "_levels", levels)
        object.__setattr__(self, "_known", {})

    def check(self, t: float) -> None:
        """Refuse what is no time of a flow.

        Raises:
            ValueError: It is none.
        """
        if not isinstance(t, Real) or isinstance(t, bool) or not 0 <= t <= LENGTH:
            raise ValueError(f"`t` is {t!r}; times of a flow model are numbers from 0 to {LENGTH}")

    def alpha(self, t: float) -> float:
        """Factor of the clean sample at time ``t``; ValueError if that is none."""
        self.check(t)
        return 1 - float(t) / LENGTH

    def sigma(self, t: float) -> float:
        """Standard deviation of the noise at time ``t``; ValueError if that is none."""
        self.check(t)
        return float(t) / LENGTH

    def timesteps(self, steps: int) -> list[float]:  # type: ignore[override]  # times of a flow are no whole numbers
        """Times of a trajectory, noisiest first, as the pipeline's scheduler gives them.

        Raises:
            UserError: More steps than it has, or none.
        """
        return [float(t) for t in self._of(steps)[0]]

    def landings(self, steps: int) -> list[tuple[float, float]]:
        """Alpha and sigma that each step ends at."""
        return [(1 - float(sigma), float(sigma)) for sigma in self._of(steps)[1][1:]]

    def _of(self, steps: int) -> Levels:
        if not isinstance(steps, int) or isinstance(steps, bool) or not 1 <= steps <= LENGTH:
            raise UserError(f"a trajectory has 1 to {LENGTH} steps on this schedule, not {steps!r}")
        if steps not in self._known:
            self._known[steps] = self._levels(steps)
        return self._known[steps]
