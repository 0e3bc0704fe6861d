"""Tests: two detectors on the same items, one detector against chance, several at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from memdet.metrics._auroc import Floats, Ints, auroc, validated


def delong(scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Difference of two AUROCs on the same items and its two-sided p-value (DeLong et al. 1988).

    Placement values come from mid-ranks (Sun and Xu 2014). Where the variance degenerates (both perfect, say), the
    p-value is that of :func:`paired_permutation`. Items are taken as independent.

    Args:
        scores_a, scores_b: ``[n]`` each.
        labels: ``[n]``, 1 or 0.

    Returns:
        AUROC(a) - AUROC(b), and p.
    """
    a, y = validated(scores_a, labels)
    b, _ = validated(scores_b, labels)
    difference = auroc(a, y) - auroc(b, y)
    positive_a, negative_a = _placements(a, y)
    positive_b, negative_b = _placements(b, y)
    if len(positive_a) < 2 or len(negative_a) < 2:
        return difference, float("nan")
    variance = np.var(positive_a - positive_b, ddof=1) / len(positive_a)
    variance += np.var(negative_a - negative_b, ddof=1) / len(negative_a)
    if variance <= 1e-12:
        return difference, paired_permutation(a, b, y)
    return difference, float(2 * stats.norm.sf(abs(difference) / np.sqrt(variance)))


def paired_permutation(
    scores_a: ArrayLike, scores_b: ArrayLike, labels: ArrayLike, *, draws: int = 2_000, seed: int = 0
) -> float:
    """Two-sided p-value of equal AUROCs: the two detectors' ranks are exchanged at random in each item."""
    a, y = validated(scores_a, labels)
    b, _ = validated(scores_b, labels)
    rank_a, rank_b = stats.rankdata(a), stats.rankdata(b)
    observed = abs(auroc(rank_a, y) - auroc(rank_b, y))
    rng = np.random.default_rng(seed)
    reached = 1
    for swap in rng.random((draws, len(y))) < 0.5:
        difference = auroc(np.where(swap, rank_b, rank_a), y) - auroc(np.where(swap, rank_a, rank_b), y)
        reached += abs(difference) >= observed - 1e-12
    return reached / (draws + 1)


def permutation_above_half(
    scores: ArrayLike, labels: ArrayLike, clusters: ArrayLike, *, draws: int = 10_000, seed: int = 0
) -> float:
    """One-sided p-value of an AUROC above .5, by permuting labels over clusters.

    Args:
        scores, labels, clusters: ``[n]`` each; all items of a cluster have one label.
        draws: Permutations.
        seed: Of the generator.

    Raises:
        ValueError: A cluster holds both labels.
    """
    s, y = validated(scores, labels)
    _, family = np.unique(np.asarray(clusters), return_inverse=True)
    label_of = np.zeros(family.max() + 1, dtype=np.int64)
    label_of[family] = y
    if (label_of[family] != y).any():
        raise ValueError("a cluster holds both labels; permuting clusters needs one label each")
    ranks = stats.rankdata(s)
    observed = auroc(s, y)
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

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(2).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p)))))
    return adjusted


def _placements(scores: Floats, labels: Ints) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    ranks = stats.rankdata(np.concatenate([positive, negative]))
    m, n = len(positive), len(negative)
    above = (ranks[:m] - stats.rankdata(positive)) / n
    below = 1 - (ranks[m:] - stats.rankdata(negative)) / m
    return above, below
