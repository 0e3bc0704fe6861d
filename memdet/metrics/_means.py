"""The mean of a number that items have, such as how well a map finds a region."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from memdet.metrics._auroc import Floats, Ints, validated_clusters
from memdet.metrics._bootstrap import DRAWS, LEVEL, Interval, check
from memdet.metrics._draws import DrawPart, reach_of, without_each


def mean_interval(
    values: ArrayLike, clusters: ArrayLike, *, draws: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Mean of a number that items have, with a percentile interval of a cluster bootstrap.

    Of several noise seeds it holds other draws too, as in :func:`~memdet.metrics.evaluate_scores`: the squares of how
    far the percentiles and the draws reach add up.

    Args:
        values: ``[n]`` or ``[n, seeds]``, finite.
        clusters, draws, seed, level: As for :func:`~memdet.metrics.evaluate_scores`.

    Returns:
        The mean and its interval.

    Raises:
        ValueError: No items, numbers that are not finite, or as for :func:`~memdet.metrics.evaluate_scores`.

    Example:
        >>> interval = mean_interval([0.0, 1.0, 1.0, 1.0], ["a", "b", "c", "d"])
        >>> interval.value, interval.low, interval.high
        (0.75, 0.25, 1.0)
    """
    table = np.asarray(values, dtype=np.float64)
    table = table[:, None] if table.ndim == 1 else table
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError("values are finite numbers, at least one, of shape (n,) or (n, seeds)")
    numbers, names = table.mean(axis=1), validated_clusters(clusters, table.shape[:1])
    check(draws, level)
    _, family = np.unique(names, return_inverse=True)
    k = int(family.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=draws)[:, family]
    mean, beyond = float(numbers.mean()), float(reach_of(level, 0.0, 1.0, _draws_of(table, family, k))[0])
    low, high = np.quantile(drawn @ numbers / drawn.sum(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, mean - float(np.hypot(mean - low, beyond)), mean + float(np.hypot(high - mean, beyond)))


def _draws_of(table: Floats, family: Ints, k: int) -> DrawPart:
    """What draws add to the variance of the mean, less what they do to each cluster by itself."""
    seeds = table.shape[1]
    if seeds < 2:
        return DrawPart.nothing(1)
    rest = without_each(table) / (seeds - 1)
    means = rest.mean(axis=1, keepdims=True)
    by_cluster = np.stack([np.bincount(family, weights=own, minlength=k) for own in (rest - means) / len(table)])
    jackknife, mixed = (
        (seeds - 1) / seeds * float(np.square(moved - moved.mean(axis=0)).sum()) for moved in (means, by_cluster)
    )
    part = jackknife - mixed * (k / (k - 1) if k > 1 else 0)
    return DrawPart(np.array([max(0.0, part)]), np.array([seeds - 1.0]))
