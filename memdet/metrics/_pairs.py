"""Tests: detectors on the same items, pair by pair; one detector against chance; several tests at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.metrics._auroc import Floats, Ints, auroc, validated, validated_clusters
from memdet.metrics._bootstrap import LEVEL
from memdet.metrics._distributions import average_ranks, normal_sf
from memdet.metrics._draws import DrawPart, area_moves, difference_bounds, p_of, validated_draws
from memdet.metrics._placements import (
    ENTRIES_AT_ONCE,
    NO_VARIANCE,
    Contributions,
    Layout,
    contributions,
    layout,
    variance,
)


@dataclass(frozen=True)
class PairedTests:
    """Differences of AUROCs, and the tests that they are 0.

    Attributes:
        first, second: ``[pairs]``, rows of the scores.
        difference: AUROC of the first minus that of the second.
        low, high: Its 95 % interval for one pair by itself; NaN where a label has a single cluster.
        p: Two-sided p-values; adjust them for their number with :func:`holm`.
    """

    first: Ints
    second: Ints
    difference: Floats
    low: Floats
    high: Floats
    p: Floats


def delong(
    scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike, *, clusters: ArrayLike | None = None
) -> tuple[float, float]:
    """Difference of two AUROCs on the same items and its two-sided p-value (DeLong et al. 1988).

    With clusters the variance is that of Obuchowski (1997), in which families are independent and items are not; the
    statistic is then referred to Student's t with Satterthwaite's degrees of freedom, the normal being too narrow for
    few families. With a cluster an item the two variances are one.

    Where nothing varies, all clusters favour one detector alike. The p-value is then that of the exact sign test over
    the clusters of the label that has fewer of them, ``2^(1 - k)`` for k. Where a label has a single cluster it is that
    of :func:`paired_permutation`.

    Args:
        scores_a, scores_b: ``[n]`` each, of the same items in the same order.
        labels: ``[n]``, 1 or 0.
        clusters: ``[n]``, names of families; every item by itself, and the normal distribution, if not given.

    Returns:
        AUROC(a) - AUROC(b) in [-1, 1], and p in [0, 1]; both NaN where a class is missing.

    Raises:
        ValueError: Shapes differ or are not ``[n]``, a score is not finite, a label is neither 0 nor 1, an item has
            no cluster.
    """
    a, y = validated(scores_a, labels)
    b, _ = validated(scores_b, labels)
    if not 0 < y.sum() < len(y):
        return float("nan"), float("nan")
    names = np.arange(len(y)) if clusters is None else validated_clusters(clusters, y.shape)
    where, scores = layout(y, names), np.stack([a, b])
    found = contributions(scores, where).differences(np.array([0]), np.array([1]))
    p = _p_values(found, where, DrawPart.nothing(1), normal=clusters is None)
    if not where.testable:
        return float(found.areas[0]), paired_permutation(a, b, y, clusters=names)
    return float(found.areas[0]), float(p[0])


def paired_tests(
    scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    *,
    by_seed: Sequence[ArrayLike | None] | None = None,
    against: int | None = None,
    level: float = LEVEL,
) -> PairedTests:
    """:func:`delong` with clusters, of every pair of detectors, or of one against each other one.

    With ``by_seed`` intervals and p-values hold noise draws too, as in :func:`~memdet.metrics.gain`.

    Args:
        scores: ``[k, n]``, finite; a row a detector.
        labels, clusters: ``[n]`` each; both labels are there.
        by_seed: As for :func:`~memdet.metrics.evaluate_table`.
        against: Row that is the second of every pair; None takes every pair once, the earlier row first.
        level: Of the intervals.

    Raises:
        ValueError: As for :func:`delong`, or a label is missing.
    """
    table = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    for row in table:
        _, y = validated(row, labels)
    names = validated_clusters(clusters, y.shape)
    if not 0 < y.sum() < len(y):
        raise ValueError("both labels are needed")
    where = layout(y, names)
    if against is None:
        first, second = np.triu_indices(len(table), 1)
    else:
        first = np.delete(np.arange(len(table)), against)
        second = np.full(len(first), against)
    each, parts = contributions(table, where), []
    moves = area_moves(validated_draws(by_seed, list(table)), where)
    size = max(1, ENTRIES_AT_ONCE // len(y))
    for start in range(0, len(first), size):
        pairs = first[start : start + size], second[start : start + size]
        found, draws = each.differences(*pairs), moves.of_differences(*pairs)
        p = _p_values(found, where, draws, normal=False)
        parts.append((found.areas, *difference_bounds(found, where, draws, level), p))
    areas, low, high, p = (np.concatenate(column) for column in zip(*parts, strict=True)) if parts else np.empty((4, 0))
    if not where.testable:
        p = np.array(
            [paired_permutation(table[a], table[b], y, clusters=names) for a, b in zip(first, second, strict=True)]
        )
    return PairedTests(first, second, areas, low, high, p)


def paired_permutation(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    draws: int = 2_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of equal AUROCs: the two detectors' ranks are exchanged at random in each cluster.

    The exchange of Venkatraman and Begg (1996), here for the difference of the areas, and of whole families.

    Args:
        scores_a, scores_b, labels: As for :func:`delong`.
        clusters: ``[n]``, names of families that are exchanged as wholes; every item by itself if not given.
        draws: Exchanges, at least 1.
        seed: Of the generator.

    Returns:
        In [1 / (draws + 1), 1], the observed arrangement counted as one draw; NaN where a class is missing.

    Raises:
        ValueError: As for :func:`delong`, or no draws.
    """
    a, y = validated(scores_a, labels)
    b, _ = validated(scores_b, labels)
    names = np.arange(len(y)) if clusters is None else validated_clusters(clusters, y.shape)
    _check_draws(draws)
    if not 0 < y.sum() < len(y):
        return float("nan")
    _, family = np.unique(names, return_inverse=True)
    # Twice the mid-ranks: whole numbers, that can be counted instead of sorted again after every exchange.
    ranks = np.rint(2 * np.stack([average_ranks(a), average_ranks(b)])).astype(np.int64)
    observed = abs(_area_gaps(ranks[:1], ranks[1:], y)[0])
    k = int(family.max()) + 1
    rng = np.random.default_rng(seed)
    reached, size = 1, max(1, ENTRIES_AT_ONCE // len(y))
    for start in range(0, draws, size):
        swap = (rng.random((min(size, draws - start), k)) < 0.5)[:, family]
        gaps = _area_gaps(np.where(swap, ranks[1], ranks[0]), np.where(swap, ranks[0], ranks[1]), y)
        reached += int((np.abs(gaps) >= observed - 1e-12).sum())
    return float(reached / (draws + 1))


def permutation_above_half(
    scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    *,
    spread: float = 1.0,
    draws: int = 10_000,
    seed: int = 0,
) -> float:
    """One-sided p-value of an AUROC above .5, by permuting labels over clusters.

    Scores that were fitted to the labels by cross-validation are not those that other labels would have given: over
    refits their AUROC spreads wider about .5 than over permutations of the fixed scores. Nadeau and Bengio (2003) put
    the ratio of the variances at ``1 + k / (k - 1)`` for ``k`` folds; ``spread`` is its root, 1.5 for five folds.

    Args:
        scores, labels, clusters: ``[n]`` each; all items of a cluster have one label.
        spread: Factor of the permuted AUROCs' distances from .5, at least 1.
        draws: Permutations, at least 1.
        seed: Of the generator.

    Returns:
        In [1 / (draws + 1), 1], the observed labels counted as one draw; NaN where a class is missing.

    Raises:
        ValueError: A cluster holds both labels, an item has no cluster, no draws, a spread below 1, or as for
            :func:`delong`.
    """
    s, y = validated(scores, labels)
    names = validated_clusters(clusters, s.shape)
    _check_draws(draws)
    if spread < 1:
        raise ValueError(f"spread is at least 1, got {spread}")
    observed = auroc(s, y)
    if np.isnan(observed):
        return float("nan")
    _, family = np.unique(names, return_inverse=True)
    label_of = np.zeros(family.max() + 1, dtype=np.int64)
    label_of[family] = y
    if (label_of[family] != y).any():
        raise ValueError("a cluster holds both labels; permuting clusters needs one label each")
    ranks = average_ranks(s)
    rng = np.random.default_rng(seed)
    reached = 1
    for _ in range(draws):
        shuffled = rng.permutation(label_of)[family]
        positives = int(shuffled.sum())
        negatives = len(y) - positives
        area = (ranks[shuffled == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
        reached += 0.5 + spread * (area - 0.5) >= observed - 1e-12
    return float(reached / (draws + 1))


def holm(p_values: ArrayLike) -> Floats:
    """Adjusted p-values (Holm 1979), in the order given.

    Args:
        p_values: ``[k]``, in [0, 1]; NaN for a test that could not be made.

    Returns:
        ``[k]``, in [0, 1]; NaN stays NaN and does not count among the tests.

    Raises:
        ValueError: More than one dimension, or a value outside [0, 1].

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or ((p < 0) | (p > 1)).any():
        raise ValueError(f"p_values need shape (k,) and values in [0, 1], got {p.tolist()}")
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(order) - np.arange(len(order)))))
    return adjusted


def _check_draws(draws: int) -> None:
    if draws < 1:
        raise ValueError(f"draws is at least 1, got {draws}")


def _p_values(found: Contributions, where: Layout, draws: DrawPart, *, normal: bool) -> Floats:
    spread, freedom = variance(found, where)
    if normal:
        with np.errstate(invalid="ignore", divide="ignore"):
            p: Floats = 2 * normal_sf(np.abs(found.areas) / np.sqrt(spread))
    else:
        p = p_of(found.areas, spread, freedom, draws)
    return where_constant(p, spread <= NO_VARIANCE, found.areas, draws, where)


def where_constant(p: Floats, constant: NDArray[np.bool_], gaps: Floats, draws: DrawPart, where: Layout) -> Floats:
    """p-values ``[pairs]`` with those of differences in which all clusters are alike set right.

    These are of the exact sign test over the clusters of the label that has fewer of them, 1 where there is no
    difference. Where noise draws vary, the larger p-value counts.
    """
    by_sign = np.where(gaps == 0, 1.0, 2.0 ** (1 - min(where.clusters[1:])))
    moved: Floats = np.where(draws.variance > NO_VARIANCE, np.maximum(p, by_sign), by_sign)
    return np.where(constant, moved, p)


def _area_gaps(ranks_a: Ints, ranks_b: Ints, labels: Ints) -> Floats:
    """AUROC(a) - AUROC(b) ``[draws]`` of scores that are whole numbers from 0 to ``2 n``, ``[draws, n]``."""
    return _areas(ranks_a, labels) - _areas(ranks_b, labels)


def _areas(ranks: Ints, labels: Ints) -> Floats:
    draws, top = len(ranks), 2 * len(labels) + 1
    cells = ranks + top * np.arange(draws)[:, None]
    positive, negative = (
        np.bincount(cells[:, labels == label].ravel(), minlength=draws * top).reshape(draws, top) for label in (1, 0)
    )
    below = 2 * np.cumsum(negative, axis=1) - negative  # twice the negatives below, ties counting half
    m = int(labels.sum())
    area: Floats = (positive * below).sum(axis=1) / (2 * m * (len(labels) - m))
    return area
