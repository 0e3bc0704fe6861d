"""Placement values, and the variance of AUROCs that they give when items come in clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memdet.metrics._auroc import Floats, Ints, Names
from memdet.metrics._distributions import average_ranks, student_isf

NO_VARIANCE = 1e-20  # one tie among 10^4 x 10^4 pairs gives more, rounding less


@dataclass(frozen=True)
class Layout:
    """How items and clusters lie: what the variance needs besides the placements.

    Attributes:
        labels: ``[n]``, 1 or 0.
        family: ``[n]``, number of each item's cluster.
        clusters: All, those with a negative, and those with a positive item.
        effective: :func:`effective_number` of clusters of the negatives and of the positives.
    """

    labels: Ints
    family: Ints
    clusters: tuple[int, int, int]
    effective: tuple[float, float]

    @property
    def testable(self) -> bool:
        """Whether both labels have the two clusters without which their spread is unknown."""
        return min(self.clusters[1:]) > 1


@dataclass(frozen=True)
class Contributions:
    """How far each cluster moves AUROCs away from their values, through its positives and through its negatives.

    Attributes:
        areas: AUROC, ``[rows]``.
        positive, negative: ``[rows, clusters]``, each row adding up to 0. Those of a difference of two AUROCs are the
            differences of theirs.
    """

    areas: Floats
    positive: Floats
    negative: Floats

    def differences(self, first: Ints, second: Ints) -> Contributions:
        """Rows ``first`` minus rows ``second``."""
        return Contributions(*(part[first] - part[second] for part in (self.areas, self.positive, self.negative)))


def layout(labels: Ints, clusters: Names) -> Layout:
    """Count what :class:`Layout` holds."""
    _, family = np.unique(clusters, return_inverse=True)
    k = int(family.max()) + 1 if len(family) else 0
    sizes = [np.bincount(family[labels == label], minlength=k) for label in (0, 1)]
    numbers = [int((m > 0).sum()) for m in sizes]
    effective = [effective_number(family[labels == label]) for label in (0, 1)]
    return Layout(labels, family, (k, numbers[0], numbers[1]), (effective[0], effective[1]))


def effective_number(clusters: ArrayLike) -> float:
    """Kish's effective number of clusters, ``(sum m)^2 / sum m^2`` with m their sizes.

    Args:
        clusters: ``[n]``, the name of each item's.

    Returns:
        From 1 to the number of clusters, which it is where all have one size; 0 without items.

    Example:
        >>> effective_number(["a", "a", "b", "c"])
        2.6666666666666665
    """
    _, sizes = np.unique(np.asarray(clusters), return_counts=True)
    return float(sizes.sum() ** 2 / np.square(sizes).sum()) if len(sizes) else 0.0


def placements(scores: Floats, labels: Ints) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it.

    From mid-ranks (Sun and Xu 2014), ties counting half. The mean of either is the AUROC.
    """
    positive, negative = scores[labels == 1], scores[labels == 0]
    ranks = average_ranks(np.concatenate([positive, negative]))
    m, n = len(positive), len(negative)
    above = (ranks[:m] - average_ranks(positive)) / n
    below = 1 - (ranks[m:] - average_ranks(negative)) / m
    return above, below


def contributions(scores: Floats, where: Layout) -> Contributions:
    """Contributions of the clusters to the AUROC of each row of ``scores`` ``[rows, n]``; both labels are present."""
    k, y = where.clusters[0], where.labels
    families = where.family[y == 1], where.family[y == 0]
    areas = np.empty(len(scores))
    sums = np.empty((2, len(scores), k))
    for row, values in enumerate(scores):
        placed = placements(values, y)
        # From whole numbers (twice the placements times the other label's items), so that a perfect score is exactly 1.
        m, n = len(placed[0]), len(placed[1])
        areas[row] = np.rint(placed[0] * 2 * n).sum() / (2 * m * n)
        for part in (0, 1):
            shares = (placed[part] - areas[row]) / len(placed[part])
            sums[part, row] = np.bincount(families[part], weights=shares, minlength=k)
    return Contributions(areas, sums[0], sums[1])


def variance(found: Contributions, where: Layout) -> tuple[Floats, Floats]:
    """Variance ``[rows]`` of the AUROCs or differences after Obuchowski (1997), and its degrees of freedom.

    With clusters of one item it is that of DeLong et al. (1988). The degrees of freedom are Satterthwaite's for the
    two labels' parts, with Kish's effective number in place of that of clusters, so that a few large families count for
    what they are: from 1 to the number of clusters minus 1.

    Returns:
        Both NaN where a label has a single cluster.
    """
    if not where.testable:
        nothing = np.full(len(found.areas), np.nan)
        return nothing, nothing
    k, k0, k1 = where.clusters
    of_positive = k1 / (k1 - 1) * np.square(found.positive).sum(axis=1)
    of_negative = k0 / (k0 - 1) * np.square(found.negative).sum(axis=1)
    together = 2 * k / (k - 1) * (found.positive * found.negative).sum(axis=1)
    total = np.maximum(of_positive + of_negative + together, 0)
    e0, e1 = (max(e - 1, 1e-9) for e in where.effective)
    with np.errstate(invalid="ignore"):
        freedom = np.square(of_positive + of_negative) / (np.square(of_positive) / e1 + np.square(of_negative) / e0)
    return total, np.clip(np.nan_to_num(freedom, nan=1.0), 1, k - 1)


def difference_bounds(found: Contributions, where: Layout, level: float) -> tuple[Floats, Floats]:
    """Bounds ``[rows]`` of differences of AUROCs by Student's t, in [-1, 1]; NaN where :func:`variance` is."""
    spread, freedom = variance(found, where)
    reach = student_isf((1 - level) / 2, freedom) * np.sqrt(spread)
    return np.maximum(found.areas - reach, -1), np.minimum(found.areas + reach, 1)
