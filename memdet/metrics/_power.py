"""What a sample set of a size can show: the smallest differences of AUROCs that a test would find."""

from __future__ import annotations

import math
from collections.abc import Callable

from memdet.errors import UserError

LEVEL, POWER = 0.05, 0.8
BASELINE, CORRELATION = 0.8, 0.5  # of two detectors that are compared, where nobody knows theirs


def smallest_auroc(n_positive: float, n_negative: float, *, level: float = LEVEL, power: float = POWER) -> float | None:
    r"""The smallest AUROC above .5 that a two-sided test against .5 finds with a given power.

    It solves :math:`A - 1/2 = z_{1-\alpha/2} \sqrt{V_0} + z_{1-\beta} \sqrt{V(A)}`. Where nothing is told apart the
    variance is that of the rank sum, :math:`V_0 = (m + n + 1) / (12 m n)`. Elsewhere it is that of exponential scores,
    :math:`V(A) = [A (1 - A) + (m - 1) (Q_1 - A^2) + (n - 1) (Q_2 - A^2)] / (m n)` with :math:`Q_1 = A / (2 - A)` and
    :math:`Q_2 = 2 A^2 / (1 + A)`, which lies close to that of many other distributions.

    Paper: Hanley, McNeil, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC) Curve",
    Radiology 143, 1982.

    Args:
        n_positive, n_negative: Independent items of each label; of clusters their effective number
            (:func:`~memdet.metrics.effective_number`).
        level: Of the two-sided test.
        power: With which it shall be found.

    Returns:
        In (.5, 1); None where even an AUROC of 1 would not be found.

    Raises:
        UserError: No items, or a level or power that is not between 0 and 1.

    Example:
        >>> round(smallest_auroc(50, 50), 3), smallest_auroc(2, 2)
        (0.659, None)
    """
    z_level, z_power = _quantiles(n_positive, n_negative, level, power)
    null = math.sqrt((n_positive + n_negative + 1) / (12 * n_positive * n_negative))

    def excess(area: float) -> float:
        return area - 0.5 - z_level * null - z_power * math.sqrt(_variance(area, n_positive, n_negative))

    return _root(excess, 0.5, 1.0)


def smallest_difference(  # what the two are like, and what is asked of the test
    n_positive: float,
    n_negative: float,
    *,
    auroc: float = BASELINE,
    correlation: float = CORRELATION,
    level: float = LEVEL,
    power: float = POWER,
) -> float | None:
    r"""How much higher the AUROC of a second detector must be for a paired test to find it with a given power.

    It solves :math:`D = (z_{1-\alpha/2} + z_{1-\beta}) \sqrt{V(A) + V(A + D) - 2 r \sqrt{V(A) V(A + D)}}`, with
    :math:`V` as in :func:`smallest_auroc` and :math:`r` the correlation of the two AUROCs over samples.

    Paper: Hanley, McNeil, "A Method of Comparing the Areas under Receiver Operating Characteristic Curves Derived from
    the Same Cases", Radiology 148, 1983.

    Args:
        n_positive, n_negative: As for :func:`smallest_auroc`.
        auroc: Of the first detector.
        correlation: Of the two AUROCs, in [-1, 1]: 0 where the detectors have nothing in common.
        level, power: As for :func:`smallest_auroc`.

    Returns:
        In (0, 1 - auroc); None where even a second AUROC of 1 would not be told apart.

    Raises:
        UserError: As for :func:`smallest_auroc`, or an AUROC or correlation that is none.

    Example:
        >>> round(smallest_difference(100, 100), 3)
        0.08
    """
    z_level, z_power = _quantiles(n_positive, n_negative, level, power)
    if not 0 <= auroc < 1:
        raise UserError(f"`auroc` is {auroc:g}: give a number from 0 to below 1", parameters=("auroc",))
    if not -1 <= correlation <= 1:
        raise UserError(f"`correlation` is {correlation:g}: it lies between -1 and 1", parameters=("correlation",))
    first = _variance(auroc, n_positive, n_negative)

    def excess(difference: float) -> float:
        second = _variance(auroc + difference, n_positive, n_negative)
        variance = first + second - 2 * correlation * math.sqrt(first * second)
        return difference - (z_level + z_power) * math.sqrt(max(0.0, variance))

    return _root(excess, 0.0, 1.0 - auroc)


def _quantiles(n_positive: float, n_negative: float, level: float, power: float) -> tuple[float, float]:
    from statistics import NormalDist

    if not (n_positive > 0 and n_negative > 0):
        raise UserError(f"{n_positive:g} positive and {n_negative:g} negative items: an AUROC needs some of both")
    for name, value in (("level", level), ("power", power)):
        if not 0 < value < 1:
            raise UserError(f"`{name}` is {value:g}: it lies between 0 and 1", parameters=(name,))
    normal = NormalDist()
    return normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)


def _variance(area: float, n_positive: float, n_negative: float) -> float:
    """Of an AUROC of exponential scores."""
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    total = area * (1 - area) + (n_positive - 1) * (q1 - area**2) + (n_negative - 1) * (q2 - area**2)
    return max(0.0, total / (n_positive * n_negative))


def _root(excess: Callable[[float], float], low: float, high: float) -> float | None:
    """Where a function that begins below 0 reaches it, by bisection; None where it does not.

    At an end the variance is 0 whatever the size, which no test knows: it counts what is reached before it.
    """
    steps = 1_000
    points = [low + (high - low) * step / steps for step in range(1, steps)]
    reached = next((index for index, point in enumerate(points) if excess(point) >= 0), None)
    if reached is None:
        return None
    low, high = points[reached - 1] if reached else low, points[reached]
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if excess(middle) >= 0 else (middle, high)
    return high
