"""The share of independent trials that succeed, such as the generations of one prompt that are copies."""

from __future__ import annotations

from scipy.special import ndtri

from memdet.metrics._bootstrap import LEVEL, Interval


def share_interval(successes: int, trials: int, *, level: float = LEVEL) -> Interval:
    """Share of successes with the score interval of Wilson (JASA 22, 1927).

    Args:
        successes: From 0 to ``trials``.
        trials: Independent ones, at least 1.
        level: Of the interval, in (0, 1).

    Raises:
        ValueError: No trials, more successes than trials, or a level outside (0, 1).

    Example:
        >>> share = share_interval(4, 4)
        >>> share.value, round(share.low, 4), share.high
        (1.0, 0.5101, 1.0)
    """
    if not 0 < level < 1:
        raise ValueError(f"level is a share in (0, 1), got {level}")
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"successes are 0 to the number of trials, at least one; got {successes} of {trials}")
    z, share = float(ndtri((1 + level) / 2)), successes / trials
    scale = 1 + z**2 / trials
    centre = (share + z**2 / (2 * trials)) / scale
    reach = z * (share * (1 - share) / trials + z**2 / (4 * trials**2)) ** 0.5 / scale
    low = 0.0 if successes == 0 else centre - reach
    return Interval(share, low, 1.0 if successes == trials else centre + reach)
