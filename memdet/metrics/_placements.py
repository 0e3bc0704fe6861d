"""Placement values, and the variance of AUROCs that they give when items come in clusters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memdet.metrics._auroc import Floats, Ints, Names

ENTRIES_AT_ONCE = 500_000  # scores ranked at once
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


def contributions(scores: Floats, where: Layout) -> Contributions:
    """Contributions of the clusters to the AUROC of each row of ``scores`` ``[rows, n]``; both labels are present."""
    size = max(1, ENTRIES_AT_ONCE // len(where.labels))
    starts = range(0, max(1, len(scores)), size)
    blocks = [_contributions(scores[start : start + size], where) for start in starts]
    return Contributions(
        np.concatenate([block.areas for block in blocks]),
        np.concatenate([block.positive for block in blocks]),
        np.concatenate([block.negative for block in blocks]),
    )


def _contributions(scores: Floats, where: Layout) -> Contributions:
    """From placements: of a positive the share of negatives below it, of a negative that of positives above it.

    Ties count half. The mean of either is the AUROC.
    """
    y, rows, k = where.labels, len(scores), where.clusters[0]
    beaten = _twice_beaten(scores, y)
    m, n = int(y.sum()), int((1 - y).sum())
    # From whole numbers (twice the placements times the other label's items), so that a perfect score is exactly 1.
    areas = beaten[:, y == 1].sum(axis=1) / (2 * m * n)
    placed = beaten[:, y == 1] / 2 / n, 1 - beaten[:, y == 0] / 2 / m
    cells = where.family + k * np.arange(rows)[:, None]
    positive, negative = (
        np.bincount(
            cells[:, y == label].ravel(),
            weights=((shares - areas[:, None]) / shares.shape[1]).ravel(),
            minlength=k * rows,
        ).reshape(rows, k)
        for label, shares in zip((1, 0), placed, strict=True)
    )
    return Contributions(areas, positive.astype(np.float64), negative.astype(np.float64))


def by_cluster(flagged: Floats, rate: float, where: Layout) -> Floats:
    """How far each cluster's positives ``[clusters]`` move a true positive rate away from its value at a threshold.

    Args:
        flagged: Whether each positive is, ``[positives]`` of 0 and 1.
        rate: The share of them.
        where: The items.
    """
    family = where.family[where.labels == 1]
    moved = np.bincount(family, weights=(flagged - rate) / len(family), minlength=where.clusters[0])
    return moved.astype(np.float64)


def positive_placements(scores: Floats, labels: Ints) -> Floats:
    """The share of negatives below each positive, ties counting half, ``[rows, positives]``; both labels are present.

    Args:
        scores: ``[rows, n]``.
        labels: ``[n]``.
    """
    placed: Floats = _twice_beaten(scores, labels)[:, labels == 1] / (2 * int((labels == 0).sum()))
    return placed


def _twice_beaten(scores: Floats, labels: Ints) -> Ints:
    """Twice the number of items of the other label that score below each, ties counting half, ``[rows, n]``."""
    order = np.argsort(scores, axis=1)
    ranked, places = np.take_along_axis(scores, order, axis=1), np.arange(scores.shape[1])
    starts = np.ones(scores.shape, dtype=bool)
    starts[:, 1:] = ranked[:, 1:] != ranked[:, :-1]
    ends = np.ones_like(starts)
    ends[:, :-1] = starts[:, 1:]
    first = np.maximum.accumulate(np.where(starts, places, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, places, len(places))[:, ::-1], axis=1)[:, ::-1]
    positive = labels[order]
    below = np.zeros((len(scores), len(places) + 1), dtype=np.int64)  # positives before each place
    np.cumsum(positive, axis=1, out=below[:, 1:])
    of_positives = np.take_along_axis(below, first, axis=1) + np.take_along_axis(below, last + 1, axis=1)
    beaten = np.where(positive == 1, first + last + 1 - of_positives, of_positives)
    found = np.empty_like(beaten)
    np.put_along_axis(found, order, beaten, axis=1)
    return found


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
