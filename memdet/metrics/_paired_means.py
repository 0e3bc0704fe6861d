"""The difference of two means over the same items, pair by pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memdet.metrics._auroc import validated_clusters
from memdet.metrics._bootstrap import DRAWS, LEVEL, Interval
from memdet.metrics._means import mean_interval


@dataclass(frozen=True)
class PairedDifference:
    """A difference of means on the same items.

    Attributes:
        interval: The first mean minus the second, with the interval of :func:`~memdet.metrics.mean_interval`.
        p: Two-sided, that the difference is 0; adjust several for their number with :func:`~memdet.metrics.holm`.
    """

    interval: Interval
    p: float


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> PairedDifference:
    """Mean of the differences of pairs, with a bootstrap over clusters.

    The p-value is the share of bootstrap means, centred at 0, that lie at least as far from it as the observed one. It
    is never below ``2^(1 - k)`` for k clusters, which is that of a sign test where all of them agree: a bootstrap of
    few clusters that agree would find any difference certain.

    Args:
        first, second: ``[n]`` or ``[n, seeds]``, finite, of the same items and seeds in the same order.
        clusters: ``[n]``, names of what is drawn together.
        draws, seed, level: As for :func:`~memdet.metrics.mean_interval`.

    Raises:
        ValueError: Shapes differ, or as for :func:`~memdet.metrics.mean_interval`.

    Example:
        >>> found = paired_difference([1.0, 1.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0], ["a", "b", "c", "d"])
        >>> found.interval.value, found.p
        (0.75, 0.125)
    """
    one, other = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if one.shape != other.shape:
        raise ValueError(f"pairs need one shape, not {one.shape} and {other.shape}")
    change = one - other
    interval = mean_interval(change, clusters, draws=draws, seed=seed, level=level)
    of_items = change if change.ndim == 1 else change.mean(axis=1)
    _, family = np.unique(validated_clusters(clusters, of_items.shape), return_inverse=True)
    k = int(family.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=draws)[:, family]
    means = drawn @ of_items / drawn.sum(axis=1)
    reached = int((np.abs(means - interval.value) >= abs(interval.value) - 1e-12).sum())
    p = 1.0 if interval.value == 0 else max((reached + 1) / (draws + 1), 2.0 ** (1 - k))
    return PairedDifference(interval, min(1.0, p))
