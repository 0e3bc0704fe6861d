"""Intervals, whose independent units are clusters and noise draws: by their variance, or by drawing clusters again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from memdet.metrics._auroc import (
    Floats,
    Ints,
    Names,
    best_rates,
    operating_point,
    ranking,
    validated,
    validated_clusters,
)
from memdet.metrics._distributions import beta_ppf
from memdet.metrics._draws import DrawPart, area_moves, difference_bounds, rate_moves, reach_of, validated_draws
from memdet.metrics._placements import NO_VARIANCE, Contributions, Layout, contributions, layout, variance

DRAWS = 2_000
LEVEL = 0.95
WEIGHTS_DRAWN = 4_000_000  # weights drawn together, as small integers; another number would be another stream of draws
WEIGHTS_HELD = 200_000  # weights held at once as floats
Counts = NDArray[np.uint16]


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
        n_effective: Kish's effective number of clusters of the label that has fewer.
        auroc, tpr_at_1_fpr: With intervals.
        realised_fpr: False positive rate at the threshold of ``tpr_at_1_fpr``; NaN where that is.
    """

    n_positive: int
    n_negative: int
    n_clusters: int
    n_effective: float
    auroc: Interval
    tpr_at_1_fpr: Interval
    realised_fpr: float


def evaluate_scores(
    scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    *,
    by_seed: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Evaluation:
    """AUROC and TPR at 1 % FPR with intervals that take clusters and noise draws for the independent units.

    The AUROC's is Student's t on the logit scale, with the variance of Obuchowski (1997), which is DeLong's where a
    cluster is one item, and Satterthwaite's degrees of freedom. Percentiles of a bootstrap would cover the truth in
    87 to 94 % of sets instead of 95 % where the AUROC is high or clusters are few.

    A noise draw that all items share moves them together, and clusters do not tell of it. With ``by_seed`` the
    intervals hold other draws too: of the mean over as many. Each draw is left out once (a jackknife); from its
    variance is taken what a draw does to each cluster by itself, which the clusters' variance holds. What is left has
    the quantile of Student's t for the number of draws less 1. The squares of the two reaches add up. Without
    ``by_seed``, or with one seed, the intervals are those of these very draws.

    The TPR's comes from a bootstrap over clusters, drawn with replacement within each label; where a cluster holds both
    labels, all clusters are drawn from one pot. Its distribution is coarse and skewed, and neither of two intervals is
    right everywhere: the percentiles, and Student's t with the bootstrap's standard error on the logit scale, around
    the TPR with two successes and two failures added (Agresti and Coull 1998), within what some draw gave. Shown are
    the outer bounds of both. What they cover is the expectation of the TPR in sets of this size, which for few
    negatives is above the TPR at a true rate of 1 %.

    Where nothing varies (a perfect detector stays perfect in every draw), or a label has a single cluster, these say
    nothing. The interval is then that of Clopper and Pearson (1934) for ``value * n`` successes in ``n`` trials, ``n``
    being the effective number of clusters: the smaller side's for AUROC, the positives' for TPR. At a value of 1 that
    is ``[(alpha / 2)^(1 / n), 1]`` with ``alpha = 1 - level``, a bound of the rule-of-three type: ``n`` independent
    families without one failure. It is exact for TPR at a fixed threshold and clusters of one size; elsewhere it is a
    cautious convention.

    Args:
        scores: ``[n]``, finite.
        labels: ``[n]``, 1 or 0.
        clusters: ``[n]``, names that NumPy can sort: numbers or strings.
        by_seed: ``[n, seeds]``, scores of each noise seed, of which ``scores`` are the means.
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
    validated(scores, labels)
    return evaluate_table([scores], labels, clusters, by_seed=[by_seed], draws=draws, seed=seed, level=level)[0]


def evaluate_table(
    scores: Sequence[ArrayLike],
    labels: ArrayLike,
    clusters: ArrayLike,
    *,
    by_seed: Sequence[ArrayLike | None] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Evaluation]:
    """:func:`evaluate_scores` of several detectors on the same items, which share the draws.

    Args:
        scores: ``[n]`` each, of the same items in the same order.
        labels, clusters, draws, seed, level: As for :func:`evaluate_scores`.
        by_seed: One a detector, with the same seeds in the same columns, of which those at which it was not scored are
            NaN; None for a detector that does not depend on the seed.

    Raises:
        ValueError: As for :func:`evaluate_scores`.
    """
    columns = [validated(column, labels) for column in scores]
    if not columns:
        return []
    table, y = [s for s, _ in columns], columns[0][1]
    names = validated_clusters(clusters, y.shape)
    check(draws, level)
    by_draw = validated_draws(by_seed, table)
    where = layout(y, names)
    points = [operating_point(s, y, 0.01) for s in table]
    found: list[list[Floats]] = [[] for _ in table]
    moved = DrawPart.nothing(len(table))
    if not np.isnan(points[0][0]):
        moved = rate_moves(by_draw, where, 0.01).of_rows()
        shared = y.astype(np.float64)
        rankings = [ranking(s, shared) for s in table]
        for weights in resample(y, names, draws, seed):
            for ranked, of_detector in zip(rankings, found, strict=True):
                of_detector.append(best_rates(ranked, weights, 0.01))
    areas = _intervals_of_areas(np.stack(table), where, by_draw, level)
    return [
        Evaluation(
            n_positive=int(y.sum()),
            n_negative=int((1 - y).sum()),
            n_clusters=where.clusters[0],
            n_effective=min(where.effective),
            auroc=areas[row],
            tpr_at_1_fpr=interval_of_rate(
                rate, np.concatenate(found[row] or [np.empty(0)]), where.effective[1], level, moved.row(row)
            ),
            realised_fpr=fpr,
        )
        for row, (rate, fpr) in enumerate(points)
    ]


def auroc_interval(
    scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    *,
    by_seed: ArrayLike | None = None,
    level: float = LEVEL,
) -> Interval:
    """AUROC with the interval of :func:`evaluate_scores`, which needs no bootstrap.

    Args:
        scores, labels, clusters, by_seed, level: As for :func:`evaluate_scores`.

    Raises:
        ValueError: As for :func:`evaluate_scores`.

    Example:
        >>> found = auroc_interval([3.0, 2.0, 1.0, 0.0], [1, 1, 0, 0], ["a", "b", "c", "d"])
        >>> found.value, round(found.low, 3), found.high
        (1.0, 0.158, 1.0)
    """
    s, y = validated(scores, labels)
    names = validated_clusters(clusters, y.shape)
    check(1, level)
    return _intervals_of_areas(s[None], layout(y, names), validated_draws([by_seed], [s]), level)[0]


def gain(
    scores: ArrayLike,
    control_scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    *,
    by_seed: tuple[ArrayLike | None, ArrayLike | None] = (None, None),
    level: float = LEVEL,
) -> Interval:
    """AUROC of a detector minus that of a control on the same items, with a paired interval.

    The interval is Student's t with the variance of :func:`~memdet.metrics.delong` for clusters: it leaves out 0 where
    that test has ``p < 1 - level``. With ``by_seed`` it holds noise draws too, as in :func:`evaluate_scores`: what a
    draw does to both alike leaves the difference as it is.

    Args:
        scores, control_scores: ``[n]`` each, of the same items in the same order.
        labels, clusters, level: As for :func:`evaluate_scores`.
        by_seed: ``[n, seeds]`` of the two, as for :func:`evaluate_table`.

    Returns:
        The difference and its interval, in [-1, 1]; NaN where a class is missing. Where nothing varies (both perfect,
        say) the interval is that point and says nothing; its bounds are NaN where a label has a single cluster.

    Raises:
        ValueError: As for :func:`evaluate_scores`.
    """
    s, y = validated(scores, labels)
    c, _ = validated(control_scores, labels)
    names = validated_clusters(clusters, s.shape)
    check(1, level)
    if not 0 < y.sum() < len(y):
        return Interval(float("nan"), float("nan"), float("nan"))
    where = layout(y, names)
    first, second = np.array([0]), np.array([1])
    found = contributions(np.stack([s, c]), where).differences(first, second)
    moved = area_moves(validated_draws(by_seed, [s, c]), where).of_differences(first, second)
    low, high = difference_bounds(found, where, moved, level)
    return Interval(float(found.areas[0]), float(low[0]), float(high[0]))


def resample(labels: Ints, clusters: Names, draws: int, seed: int, *, groups: Ints | None = None) -> Iterator[Floats]:
    """Blocks of bootstrap weights ``[draws, n]``: how often each item was drawn, clusters kept whole.

    As many clusters as there are, within each label. Where a cluster holds both labels, all are drawn from one pot, and
    a draw that lacks a label is made again. Both labels are present. One block of floats is held at a time, and the
    small integers that it is made of.

    Args:
        labels, clusters: ``[n]``.
        draws: How many.
        seed: Of the generator.
        groups: ``[n]``, numbers of the groups within which clusters are drawn, each of one label; the labels if None.
    """
    rng = np.random.default_rng(seed)
    n = len(labels)
    groups = labels if groups is None else groups
    _, family = np.unique(clusters, return_inverse=True)
    mixed = len(np.unique(np.column_stack([family, groups]), axis=0)) > len(np.unique(family))
    pots = []
    for members in [np.arange(n)] if mixed else [np.flatnonzero(groups == group) for group in np.unique(groups)]:
        _, of_pot = np.unique(family[members], return_inverse=True)
        pots.append((members, of_pot))
    size, held = max(1, WEIGHTS_DRAWN // max(1, n)), max(1, WEIGHTS_HELD // max(1, n))
    for start in range(0, draws, size):
        counts = np.zeros((min(size, draws - start), n), dtype=np.uint16)
        lacking = np.arange(len(counts))
        while len(lacking):
            for members, of_pot in pots:
                _draw(rng, counts, lacking, members, of_pot, held)
            lacking = np.concatenate([_one_label(counts, block, labels) for block in _blocks(lacking, held)])
        for block in _blocks(np.arange(len(counts)), held):
            yield counts[block].astype(np.float64)


def _draw(rng: np.random.Generator, counts: Counts, rows: Ints, members: Ints, of_pot: Ints, held: int) -> None:
    """Fill some rows of ``counts`` at some members: clusters of a pot, with replacement. Blocks are one stream."""
    k = int(of_pot.max()) + 1
    for block in _blocks(rows, held):
        cells = rng.integers(0, k, size=(len(block), k))
        cells += k * np.arange(len(block))[:, None]
        drawn = np.bincount(cells.ravel(), minlength=k * len(block)).reshape(-1, k).astype(counts.dtype)
        counts[np.ix_(block, members)] = drawn[:, of_pot]


def _one_label(counts: Counts, rows: Ints, labels: Ints) -> Ints:
    """Those of the rows in which a label was never drawn."""
    drawn = counts[rows] > 0
    return rows[~(drawn[:, labels == 1].any(axis=1) & drawn[:, labels == 0].any(axis=1))]


def _blocks(rows: Ints, held: int) -> list[Ints]:
    return [rows[start : start + held] for start in range(0, len(rows), held)]


def check(draws: int, level: float) -> None:
    """Refuse numbers out of range."""
    if draws < 1:
        raise ValueError(f"draws is at least 1, got {draws}")
    if not 0 < level < 1:
        raise ValueError(f"level is a share in (0, 1), such as 0.95, got {level}")


def _intervals_of_areas(
    scores: Floats, where: Layout, by_seed: Sequence[Floats | None], level: float
) -> list[Interval]:
    if 0 in where.effective:
        return [Interval(float("nan"), float("nan"), float("nan")) for _ in scores]
    return interval_of_area(contributions(scores, where), area_moves(by_seed, where).of_logits(), where, level)


def interval_of_area(found: Contributions, draws: DrawPart, where: Layout, level: float) -> list[Interval]:
    """Of AUROCs, from their contributions and the draws' part of their logits; both labels are present."""
    spread, freedom = variance(found, where)
    constant = ~(spread > NO_VARIANCE)
    value, freedom = np.where(constant, 0.5, found.areas), np.where(constant, 1, freedom)
    reach = reach_of(level, np.where(constant, 0, spread / (value * (1 - value)) ** 2), freedom, draws)
    return [
        _shifted(
            area,
            _clopper_pearson(area, min(where.effective), level) if constant[row] else Interval(area, area, area),
            float(reach[row]),
        )
        for row, area in enumerate(found.areas.tolist())
    ]


def _shifted(value: float, bounds: Interval, reach: float) -> Interval:
    """Bounds that lie so far below and above others on the logit scale."""
    low, high = special.expit(special.logit([bounds.low, bounds.high]) + np.array([-reach, reach]))
    return Interval(value, float(low), float(high))


def interval_of_rate(value: float, values: Floats, n: float, level: float, draws: DrawPart) -> Interval:
    """Of a share of ``n`` positives, from its values in the bootstrap and the draws' part; NaN where it is."""
    if np.isnan(value):
        return Interval(value, float("nan"), float("nan"))
    if values.min() == values.max():
        of_items, beyond = _clopper_pearson(value, n, level), float(reach_of(level, 0.0, 1.0, draws)[0])
        return Interval(value, max(0.0, of_items.low - beyond), min(1.0, of_items.high + beyond))
    centre, spread, freedom = (value * n + 2) / (n + 4), float(values.var()), max(n - 1, 1)
    whole = float(reach_of(level, spread, freedom, draws)[0])
    # How much further draws make it: of percentiles, and of what some draw of the bootstrap gave.
    stretch = whole / float(reach_of(level, spread, freedom, DrawPart.nothing(1))[0])
    least, *percentiles, most = np.clip(
        value + stretch * (np.quantile(values, [0, (1 - level) / 2, (1 + level) / 2, 1]) - value), 0, 1
    )
    reach = whole / (centre * (1 - centre))
    around = special.expit(special.logit(centre) + np.array([-reach, reach])).clip(least, most)
    low, high = min(value, around[0], percentiles[0]), max(value, around[1], percentiles[1])
    return Interval(value, float(low), float(high))


def _clopper_pearson(value: float, n: float, level: float) -> Interval:
    tail, successes = (1 - level) / 2, value * n
    low = float(beta_ppf(tail, successes, n - successes + 1)) if successes > 0 else 0.0
    high = float(beta_ppf(1 - tail, successes + 1, n - successes)) if successes < n else 1.0
    return Interval(value, low, high)
