"""Interleaved rounds: the machine drifts, so what is compared is measured side by side."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

FEWEST_ROUNDS = 3


@dataclass(frozen=True)
class Spread:
    """Median of some rounds.

    Attributes:
        median: Of all rounds.
        q1, q3: First and third quartile.
        low, high: 95 % interval of the median by order statistics, which assumes independent rounds and nothing of
            their distribution; NaN for fewer than six, which cannot give one.
    """

    median: float
    q1: float
    q3: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Describe some values.

        Example:
            >>> Spread.of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 90.0])
            Spread(median=4.0, q1=2.5, q3=5.5, low=1.0, high=90.0)
        """
        q1, median, q3 = np.quantile(values, (0.25, 0.5, 0.75))
        low = high = math.nan
        if len(values) > 5:
            interval = stats.quantile_test(values, q=float(median), p=0.5).confidence_interval(0.95)
            low, high = interval.low, interval.high
        return cls(float(median), float(q1), float(q3), float(low), float(high))


def interleave(
    arms: Mapping[str, Callable[[], float]], rounds: int, most_seconds: float = math.inf
) -> dict[str, list[float]]:
    """Time some calls in turn, in the opposite order every other round.

    Args:
        arms: Each times one call and gives the seconds.
        rounds: How often each is called.
        most_seconds: No further round is begun after that time, but three are made.

    Returns:
        Seconds of each round, by arm.
    """
    found: dict[str, list[float]] = {name: [] for name in arms}
    started = time.perf_counter()
    for index in range(rounds):
        if index >= FEWEST_ROUNDS and time.perf_counter() - started > most_seconds:
            break
        for name in list(arms)[:: 1 if index % 2 == 0 else -1]:
            found[name].append(arms[name]())
    return found


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Spread:
    """Of two arms, round by round."""
    return Spread.of([a / b for a, b in zip(numerator, denominator, strict=True)])
