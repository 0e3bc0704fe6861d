"""Intervals: bootstrap over clusters within each label."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from memdet.metrics._auroc import (
    Floats,
    Ints,
    Names,
    area_of,
    auroc,
    best_of,
    roc_counts,
    tpr_at_fpr,
    validated,
    validated_clusters,
    weighted_auroc,
)

DRAWS = 2_000
LEVEL = 0.95
_CHUNK = 4_000_000  # weights held at once


@dataclass(frozen=True)
class Interval:
    """An estimate and its confidence interval; NaN where undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What a table shows of one detector on one sample set.

    Attributes:
        n_positive, n_negative: Items.
        n_clusters: Families of near-duplicates.
        n_effective: Kish's effective number of clusters ``(sum m)^2 / sum m^2`` (m the cluster sizes) of the label that
            has fewer.
        auroc, tpr_at_1_fpr: With intervals.
    """

    n_positive: int
    n_negative: int
    n_clusters: int
    n_effective: float
    auroc: Interval
    tpr_at_1_fpr: Interval


def evaluate_scores(
    scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Evaluation:
    """AUROC and TPR at 1 % FPR with percentile intervals of a cluster bootstrap.

    Clusters are drawn with replacement within each label; a cluster that holds both labels counts as one in each.

    Where the percentiles coincide (every draw of a perfect detector is perfect) the bootstrap says nothing. The
    interval is then that of Clopper and Pearson (1934) for ``value * n`` successes in ``n`` trials, ``n`` being the
    effective number of clusters: the smaller side's for AUROC, the positives' for TPR. At a value of 1 that is
    ``[(alpha / 2)^(1 / n), 1]`` with ``alpha = 1 - level``, a bound of the rule-of-three type: ``n`` independent
    families without one failure. It is exact for TPR at a fixed threshold and clusters of one size; elsewhere it is a
    cautious convention.

    Args:
        scores: ``[n]``, finite.
        labels: ``[n]``, 1 or 0.
        clusters: ``[n]``, names that NumPy can sort: numbers or strings.
        draws: Of the bootstrap, at least 1.
        seed: Of its generator.
        level: Of the intervals, in (0, 1).

    Returns:
        The evaluation; NaN in what is undefined.

    Raises:
        ValueError: Wrong shapes or labels, scores that are not finite, an item without a cluster, ``draws`` or
            ``level`` out of range.

    Example:
        >>> result = evaluate_scores([3.0, 2.0, 1.0, 0.0], [1, 1, 0, 0], ["a", "b", "c", "d"])
        >>> result.auroc.value, round(result.auroc.low, 3), result.auroc.high
        (1.0, 0.158, 1.0)
    """
    s, y = validated(scores, labels)
    names = validated_clusters(clusters, s.shape)
    _check(draws, level)
    effective = {label: _effective(names[y == label]) for label in (0, 1)}
    smaller = min(effective.values())
    area, rate = auroc(s, y), tpr_at_fpr(s, y)
    areas, rates = [], []
    if not np.isnan(area):
        for weights in resample(y, names, draws, seed):
            true, false = roc_counts(s, y, weights)
            areas.append(area_of(true, false))
            rates.append(best_of(true, false, 0.01)[0])
    return Evaluation(
        n_positive=int(y.sum()),
        n_negative=int((1 - y).sum()),
        n_clusters=len(np.unique(names)),
        n_effective=smaller,
        auroc=_interval(area, areas, smaller, level),
        tpr_at_1_fpr=_interval(rate, [] if np.isnan(rate) else rates, effective[1], level),
    )


def gain(
    scores: ArrayLike,
    control_scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """AUROC of a detector minus that of a control on the same items, with a paired cluster bootstrap.

    Args:
        scores, control_scores: ``[n]`` each, of the same items in the same order.
        labels, clusters, draws, seed, level: As for :func:`evaluate_scores`.

    Returns:
        The difference and its percentile interval, in [-1, 1]; NaN where a class is missing. Where no draw changes the
        difference (both perfect, say) the interval is that point and says nothing.

    Raises:
        ValueError: As for :func:`evaluate_scores`.
    """
    s, y = validated(scores, labels)
    c, _ = validated(control_scores, labels)
    names = validated_clusters(clusters, s.shape)
    _check(draws, level)
    value = auroc(s, y) - auroc(c, y)
    if np.isnan(value):
        return Interval(value, value, value)
    differences = [
        weighted_auroc(s, y, weights) - weighted_auroc(c, y, weights) for weights in resample(y, names, draws, seed)
    ]
    low, high = np.quantile(np.concatenate(differences), [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high))


def mean_interval(
    values: ArrayLike, clusters: ArrayLike, *, draws: int = DRAWS, seed: int = 0, level: float = LEVEL
) -> Interval:
    """Mean of a number that items have, with a percentile interval of a cluster bootstrap.

    Args:
        values: ``[n]``, finite.
        clusters, draws, seed, level: As for :func:`evaluate_scores`.

    Returns:
        The mean and its interval.

    Raises:
        ValueError: No items, numbers that are not finite, or as for :func:`evaluate_scores`.

    Example:
        >>> interval = mean_interval([0.0, 1.0, 1.0, 1.0], ["a", "b", "c", "d"])
        >>> interval.value, interval.low, interval.high
        (0.75, 0.25, 1.0)
    """
    numbers = np.asarray(values, dtype=np.float64)
    names = validated_clusters(clusters, numbers.shape)
    _check(draws, level)
    if not len(numbers) or not np.isfinite(numbers).all():
        raise ValueError("values are finite numbers, at least one")
    _, family = np.unique(names, return_inverse=True)
    k = int(family.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(k, np.full(k, 1 / k), size=draws)[:, family]
    low, high = np.quantile(drawn @ numbers / drawn.sum(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(numbers.mean()), float(low), float(high))


def resample(labels: Ints, clusters: Names, draws: int, seed: int) -> Iterator[Floats]:
    """Chunks of bootstrap weights ``[draws, n]``: how often each item was drawn, clusters kept whole.

    Both labels are present. One chunk is held at a time.
    """
    rng = np.random.default_rng(seed)
    n = len(labels)
    size = max(1, _CHUNK // max(1, n))
    for start in range(0, draws, size):
        count = min(size, draws - start)
        weights = np.zeros((count, n))
        for label in (0, 1):
            members = np.flatnonzero(labels == label)
            _, family = np.unique(clusters[members], return_inverse=True)
            k = int(family.max()) + 1
            drawn = rng.multinomial(k, np.full(k, 1 / k), size=count)
            weights[:, members] = drawn[:, family]
        yield weights


def _check(draws: int, level: float) -> None:
    if draws < 1:
        raise ValueError(f"draws is at least 1, got {draws}")
    if not 0 < level < 1:
        raise ValueError(f"level is a share in (0, 1), such as 0.95, got {level}")


def _interval(value: float, draws: list[Floats], n: float, level: float) -> Interval:
    if np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    values = np.concatenate(draws)
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    if low < high:
        return Interval(value, float(low), float(high))
    successes = value * n
    low = float(stats.beta.ppf(tail, successes, n - successes + 1)) if successes > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, successes + 1, n - successes)) if successes < n else 1.0
    return Interval(value, low, high)


def _effective(clusters: Names) -> float:
    if not len(clusters):
        return 0.0
    _, sizes = np.unique(clusters, return_counts=True)
    return float(sizes.sum() ** 2 / np.square(sizes).sum())
