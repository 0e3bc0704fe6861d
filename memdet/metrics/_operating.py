"""Several detectors on the same items at several false positive rates: intervals, and who can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memdet.metrics._auroc import Floats, Ints, Names, best_rates, ranking, tpr_at_fpr, validated, validated_clusters
from memdet.metrics._bootstrap import DRAWS, LEVEL, Interval, check, interval_of_rate, resample
from memdet.metrics._draws import rate_moves, validated_draws
from memdet.metrics._placements import layout
from memdet.metrics._ties import Ties, rate_ties


@dataclass(frozen=True)
class RateEvaluation:
    """What a page shows of ``k`` detectors at one false positive rate.

    Attributes:
        fpr: The rate.
        tpr: With intervals, ``[k]``; NaN where it is not resolvable.
        ties: Who is told apart by it.
    """

    fpr: float
    tpr: list[Interval]
    ties: Ties


def evaluate_rates(
    scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    fprs: Sequence[float],
    *,
    by_seed: Sequence[ArrayLike | None] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> list[RateEvaluation]:
    """TPR of detectors on the same items at several false positive rates, and who can be told apart at each.

    Draws and intervals of the TPR are those of :func:`~memdet.metrics.evaluate_scores`. Two detectors are told apart
    where a paired test of their difference says so after adjustment for all pairs (:class:`~memdet.metrics.Ties`): it
    is over its standard error in the draws, and referred to Student's t.

    Args:
        scores: ``[k, n]``, finite; a row a detector.
        labels, clusters, draws, seed, level: As for :func:`~memdet.metrics.evaluate_scores`.
        by_seed: As for :func:`~memdet.metrics.evaluate_table`.
        fprs: False positive rates in (0, 1).

    Returns:
        One a rate, in their order.

    Raises:
        ValueError: As for :func:`~memdet.metrics.evaluate_scores` and :func:`~memdet.metrics.tpr_at_fpr`.

    Example:
        >>> labels = [1] * 20 + [0] * 20
        >>> (half,) = evaluate_rates([labels, [1 - label for label in labels]], labels, range(40), [0.5])
        >>> [interval.value for interval in half.tpr], half.ties.groups.tolist()
        ([1.0, 0.0], [1, 2])
    """
    y = np.asarray(labels, dtype=np.int64)
    names = validated_clusters(clusters, y.shape)
    check(draws, level)
    table = np.reshape([validated(row, labels)[0] for row in np.asarray(scores, dtype=np.float64)], (-1, len(y)))
    values = np.reshape([[tpr_at_fpr(row, y, fpr) for row in table] for fpr in fprs], (len(fprs), len(table)))
    resolved = np.flatnonzero(~np.isnan(values).any(axis=1)) if len(table) else np.empty(0, dtype=np.int64)
    drawn = np.full((len(fprs), len(table), draws), np.nan)
    drawn[resolved] = _drawn(table, y, names, [fprs[index] for index in resolved.tolist()], draws, seed)
    where, by_draw = layout(y, names), validated_draws(by_seed, list(table))
    found = []
    for index, (fpr, rates) in enumerate(zip(fprs, values, strict=True)):
        moves = rate_moves(by_draw if index in resolved else [None] * len(table), where, fpr)
        part, own = moves.of_rows(), drawn[index]
        tpr = [
            interval_of_rate(value, own[row], where.effective[1], level, part.row(row))
            for row, value in enumerate(rates.tolist())
        ]
        found.append(RateEvaluation(fpr, tpr, rate_ties(rates, table, own, moves, where, fpr)))
    return found


def _drawn(table: Floats, labels: Ints, clusters: Names, fprs: Sequence[float], draws: int, seed: int) -> Floats:
    """TPRs ``[rates, k, draws]`` of a bootstrap over clusters, the same draws for all."""
    drawn = np.empty((len(fprs), len(table), draws))
    if not fprs:
        return drawn
    shared = labels.astype(np.float64)
    rankings = [ranking(row, shared) for row in table]
    done = 0
    for weights in resample(labels, clusters, draws, seed):
        chunk = slice(done, done + len(weights))
        for row, ranked in enumerate(rankings):
            for index, fpr in enumerate(fprs):
                drawn[index, row, chunk] = best_rates(ranked, weights, fpr)
        done += len(weights)
    return drawn
