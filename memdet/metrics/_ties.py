"""The one rule of who is told apart from whom in a table, for AUROCs and for true positive rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.metrics._auroc import Floats, Ints, auroc
from memdet.metrics._draws import DrawMoves, p_of
from memdet.metrics._pairs import PairedTests, holm, paired_tests, where_constant
from memdet.metrics._placements import NO_VARIANCE, Layout, by_cluster

ALPHA = 0.05
"""Probability of one wrong separation in a whole table."""


@dataclass(frozen=True)
class Ties:
    """Which of ``k`` detectors the data tell apart in one measure.

    Attributes:
        values: The measure, ``[k]``; NaN where it is undefined.
        p: Two-sided p-values of each pair, adjusted together over all pairs (Holm), ``[k, k]``; 1 on the diagonal, NaN
            where no test could be made.
        apart: Where ``p`` is at most alpha, ``[k, k]``; never where ``p`` is NaN.
    """

    values: Floats
    p: Floats
    apart: NDArray[np.bool_]

    @classmethod
    def of_pairs(cls, values: ArrayLike, first: Ints, second: Ints, p: Floats, *, alpha: float = ALPHA) -> Ties:
        """From unadjusted p-values ``[pairs]`` of every pair, of rows ``first`` and ``second``."""
        measured = np.asarray(values, dtype=np.float64)
        adjusted = np.eye(len(measured))
        adjusted[first, second] = adjusted[second, first] = holm(p)
        return cls(measured, adjusted, adjusted <= alpha)

    def tied_with(self, index: int) -> NDArray[np.bool_]:
        """Who is not told apart from a detector, ``[k]``, itself included."""
        tied: NDArray[np.bool_] = ~self.apart[index]
        return tied

    @property
    def groups(self) -> Ints:
        """Groups of detectors that the data do not tell apart from the best of the group: numbers from 1, ``[k]``.

        Group 1 is the detector of the highest value and all that are not told apart from it; group 2 is the best of the
        others and all of these that are not told apart from that one; and so on. Where several are best, the first
        leads. A detector may differ from others of its group, and need not differ from all of a later one: what holds,
        with probability ``1 - alpha`` for the whole table, is that the best of each group is truly above every detector
        of the later groups.
        """
        groups = np.zeros(len(self.values), dtype=np.int64)
        while (left := np.flatnonzero(groups == 0)).size:
            best = left[np.argmax(self.values[left])]
            groups[left[self.tied_with(best)[left]]] = groups.max() + 1
        return groups


def tie_groups(areas: ArrayLike, tests: PairedTests, *, alpha: float = ALPHA) -> Ints:
    """:attr:`Ties.groups` of AUROCs whose tests are known.

    Args:
        areas: ``[k]``, AUROCs.
        tests: Of every pair, from :func:`~memdet.metrics.paired_tests`.
        alpha: Probability of one wrong separation in the whole table.

    Returns:
        ``[k]``, numbers from 1.
    """
    return Ties.of_pairs(areas, tests.first, tests.second, tests.p, alpha=alpha).groups


def area_ties(
    scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    *,
    by_seed: Sequence[ArrayLike | None] | None = None,
) -> Ties:
    """Who is told apart by AUROC: :func:`~memdet.metrics.paired_tests` of all pairs, adjusted together.

    Args:
        scores: ``[k, n]``, finite; a row a detector.
        labels, clusters: ``[n]`` each.
        by_seed: As for :func:`~memdet.metrics.evaluate_table`.

    Returns:
        Of the ``k`` detectors; nobody is told apart where a label is missing.

    Raises:
        ValueError: As for :func:`~memdet.metrics.delong`.

    Example:
        >>> labels = [1] * 20 + [0] * 20
        >>> ties = area_ties([labels, [1 - label for label in labels]], labels, range(40))
        >>> ties.values.tolist(), ties.groups.tolist()
        ([1.0, 0.0], [1, 2])
    """
    table = np.asarray(scores, dtype=np.float64)
    areas = [auroc(row, labels) for row in table]
    if np.isnan(areas).any() or not areas:
        return untested(areas)
    tests = paired_tests(table, labels, clusters, by_seed=by_seed)
    return Ties.of_pairs(areas, tests.first, tests.second, tests.p)


def untested(values: ArrayLike) -> Ties:
    """Nobody is told apart, as nothing could be tested."""
    measured = np.asarray(values, dtype=np.float64)
    first, second = np.triu_indices(len(measured), 1)
    return Ties.of_pairs(measured, first, second, np.full(len(first), np.nan))


def rate_ties(  # what a bootstrap gave, what noise draws gave, and of what
    values: Floats, scores: Floats, draws: Floats, moves: DrawMoves, where: Layout, fpr: float
) -> Ties:
    """Who is told apart by the true positive rate at a false positive rate, from draws that the detectors share.

    The difference of two rates over its standard error is referred to Student's t. Percentiles of the draws could not
    be: with 2,000 of them no p-value is below .001, and the smallest of the 666 pairs of 37 detectors must be below
    .00008 to be significant.

    The variance is that of the *paired* difference over the draws, or that of its positives at fixed thresholds
    (clusters are its units) where this is larger. To it ``2 / n^2`` is added, with ``n`` the effective number of
    clusters of positives: the variance that one cluster more in favour of each detector would bring (Agresti and Min
    2005). Without it a few clusters that all favour one detector would pass for many.

    The degrees of freedom are Satterthwaite's for two parts. The part of the positives has ``n - 1``. The rest comes
    from the two thresholds, each of which is set by the few highest negatives: ``1 + fpr * m`` of them, with ``m`` the
    effective number of clusters of negatives, so this part has ``2 (1 + fpr * m)``. With ``n - 1`` for all of it the
    test is wrong in one table of ten at 1 % FPR among 120 negatives.

    To what items add comes what noise draws add, as for AUROCs (:func:`~memdet.metrics.paired_tests`).

    Where the difference never varies the convention is that of :func:`~memdet.metrics.delong`.

    Args:
        values: The rates, ``[k]``.
        scores: ``[k, n]``.
        draws: The rates in each draw of a bootstrap over clusters, ``[k, draws]``.
        moves: How noise draws move the rates.
        where: The items.
        fpr: In (0, 1).

    Returns:
        Of the ``k`` detectors; nobody is told apart where the rates are undefined or a label has a single cluster.
    """
    if np.isnan(values).any() or not where.testable:
        return untested(values)
    of_negatives, of_positives = where.effective
    moved, k1 = _moved_by_clusters(values, scores, where), where.clusters[2]
    first, second = np.triu_indices(len(values), 1)
    gaps = values[first] - values[second]
    total, fixed = np.empty((2, len(first)))
    for row in range(len(values)):  # a detector's pairs at a time: those of all would be much to hold
        pairs = first == row
        total[pairs] = (draws[row] - draws[row + 1 :]).var(axis=1)
        fixed[pairs] = k1 / (k1 - 1) * np.square(moved[row] - moved[row + 1 :]).sum(axis=1)
    constant = total <= NO_VARIANCE
    spread = np.maximum(total, fixed) + 2 / of_positives**2
    fixed = np.minimum(fixed, total)
    n, m = max(of_positives - 1, 1), 2 * (1 + fpr * of_negatives)
    with np.errstate(invalid="ignore"):
        freedom = np.square(total) / (np.square(fixed) / n + np.square(total - fixed) / m)
    part = moves.of_differences(first, second)
    p = p_of(gaps, spread, np.clip(np.nan_to_num(freedom, nan=1.0), 1, n), part)
    return Ties.of_pairs(values, first, second, where_constant(p, constant, gaps, part, where))


def _moved_by_clusters(values: Floats, scores: Floats, where: Layout) -> Floats:
    """How far each cluster's positives move a rate away from its value at its threshold, ``[k, clusters]``."""
    moved = np.empty((len(values), where.clusters[0]))
    for row, (value, of_all) in enumerate(zip(values, scores, strict=True)):
        own = of_all[where.labels == 1]
        flagged = own > np.inf if value == 0 else own >= np.sort(own)[len(own) - round(value * len(own))]
        moved[row] = by_cluster(flagged.astype(np.float64), float(value), where)
    return moved
