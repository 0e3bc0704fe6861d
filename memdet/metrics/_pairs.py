"""Tests: two detectors on the same items, one detector against chance, several at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from memdet.metrics._auroc import Floats, Ints, auroc, validated, validated_clusters


def delong(scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Difference of two AUROCs on the same items and its two-sided p-value (DeLong et al. 1988).

    Placement values come from mid-ranks (Sun and Xu 2014). Where the variance degenerates (both perfect, say, or a
    class of one item), the p-value is that of :func:`paired_permutation`. Items are taken as independent: families of
    near-duplicates make p too small.

    Args:
        scores_a, scores_b: ``[n]`` each, of the same items in the same order.
        labels: ``[n]``, 1 or 0.

    Returns:
        AUROC(a) - AUROC(b) in [-1, 1], and p in [0, 1]; both NaN where a class is missing.

    Raises:
        ValueError: Shapes differ or are not ``[n]``, a score is not finite, a label is neither 0 nor 1.
    """
    a, y = validated(scores_a, labels)
    b, _ = validated(scores_b, labels)
    difference = auroc(a, y) - auroc(b, y)
    if np.isnan(difference):
        return difference, float("nan")
    positive_a, negative_a = _placements(a, y)
    positive_b, negative_b = _placements(b, y)
    if len(positive_a) < 2 or len(negative_a) < 2:
        return difference, paired_permutation(a, b, y)
    variance = np.var(positive_a - positive_b, ddof=1) / len(positive_a)
    variance += np.var(negative_a - negative_b, ddof=1) / len(negative_a)
    if variance <= 1e-12:
        return difference, paired_permutation(a, b, y)
    return difference, float(2 * stats.norm.sf(abs(difference) / np.sqrt(variance)))


def paired_permutation(
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    labels: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    draws: int = 2_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of equal AUROCs: the two detectors' ranks are exchanged at random in each item.

    The exchange of Venkatraman and Begg (1996), here for the difference of the areas.

    Args:
        scores_a, scores_b, labels: As for :func:`delong`.
        clusters: ``[n]``, names of families that are exchanged as wholes; every item by itself if not given.
        draws: Exchanges, at least 1.
        seed: Of the generator.

    Returns:
        In [1 / (draws + 1), 1], the observed arrangement counted as one draw; NaN where a class is missing.

    Raises:
        ValueError: As for :func:`delong`, an item without a cluster, or no draws.
    """
    a, y = validated(scores_a, labels)
    b, _ = validated(scores_b, labels)
    names = np.arange(len(y)) if clusters is None else validated_clusters(clusters, y.shape)
    _, family = np.unique(names, return_inverse=True)
    _check_draws(draws)
    rank_a, rank_b = stats.rankdata(a), stats.rankdata(b)
    observed = abs(auroc(rank_a, y) - auroc(rank_b, y))
    if np.isnan(observed):
        return float("nan")
    families = int(family.max()) + 1
    rng = np.random.default_rng(seed)
    reached = 1
    for _ in range(draws):
        swap = (rng.random(families) < 0.5)[family]
        difference = auroc(np.where(swap, rank_b, rank_a), y) - auroc(np.where(swap, rank_a, rank_b), y)
        reached += abs(difference) >= observed - 1e-12
    return float(reached / (draws + 1))


def permutation_above_half(
    scores: ArrayLike, labels: ArrayLike, clusters: ArrayLike, *, draws: int = 10_000, seed: int = 0
) -> float:
    """One-sided p-value of an AUROC above .5, by permuting labels over clusters.

    Args:
        scores, labels, clusters: ``[n]`` each; all items of a cluster have one label.
        draws: Permutations, at least 1.
        seed: Of the generator.

    Returns:
        In [1 / (draws + 1), 1], the observed labels counted as one draw; NaN where a class is missing.

    Raises:
        ValueError: A cluster holds both labels, an item has no cluster, no draws, or as for :func:`delong`.
    """
    s, y = validated(scores, labels)
    names = validated_clusters(clusters, s.shape)
    _check_draws(draws)
    observed = auroc(s, y)
    if np.isnan(observed):
        return float("nan")
    _, family = np.unique(names, return_inverse=True)
    label_of = np.zeros(family.max() + 1, dtype=np.int64)
    label_of[family] = y
    if (label_of[family] != y).any():
        raise ValueError("a cluster holds both labels; permuting clusters needs one label each")
    ranks = stats.rankdata(s)
    rng = np.random.default_rng(seed)
    reached = 1
    for _ in range(draws):
        shuffled = rng.permutation(label_of)[family]
        positives = int(shuffled.sum())
        negatives = len(y) - positives
        area = (ranks[shuffled == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
        reached += area >= observed - 1e-12
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


def _placements(scores: Floats, labels: Ints) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    m, n = len(positive), len(negative)
    above = (ranks[:m] - stats.rankdata(positive)) / n
    below = 1 - (ranks[m:] - stats.rankdata(negative)) / m
    return above, below
