"""Several detectors on the same items at several false positive rates: intervals, and who can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.metrics._auroc import area_of, auroc, best_of, roc_counts, tpr_at_fpr, validated, validated_clusters
from memdet.metrics._bootstrap import DRAWS, LEVEL, Interval, _check, _effective, _interval, resample


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare_detectors` found; ``k`` detectors, and one measure more than rates: AUROC, then the TPRs.

    Attributes:
        intervals: Of each measure, ``k`` estimates; NaN where undefined.
        tied: ``[measures, k, k]``; true where the data do not tell two detectors apart, and where undefined.
    """

    intervals: list[list[Interval]]
    tied: NDArray[np.bool_]


def compare_detectors(
    scores: ArrayLike,
    labels: ArrayLike,
    clusters: ArrayLike,
    fprs: Sequence[float],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Comparison:
    """AUROC and TPR at several false positive rates of detectors on the same items, and their paired comparison.

    Two detectors are tied in a measure where the percentile interval of its difference over the draws of a paired
    cluster bootstrap holds 0: neither is ahead in more than ``(1 + level) / 2`` of the draws. No correction is made
    for the number of pairs. The intervals are those of :func:`evaluate_scores`.

    Args:
        scores: ``[k, n]``, finite; a row a detector.
        labels, clusters, draws, seed, level: As for :func:`evaluate_scores`.
        fprs: False positive rates in (0, 1).

    Raises:
        ValueError: As for :func:`evaluate_scores` and :func:`tpr_at_fpr`.

    Example:
        >>> scores = [[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]]
        >>> result = compare_detectors(scores, [1, 1, 0, 0], ["a", "b", "c", "d"], [0.5])
        >>> [interval.value for interval in result.intervals[0]], bool(result.tied[0, 0, 1])
        ([1.0, 0.0], False)
    """
    rows = [validated(row, labels) for row in np.asarray(scores, dtype=np.float64)]
    names = validated_clusters(clusters, np.shape(labels))
    _check(draws, level)
    measures = 1 + len(fprs)
    tied = np.ones((measures, len(rows), len(rows)), dtype=bool)
    values = [[auroc(s, y), *(tpr_at_fpr(s, y, fpr) for fpr in fprs)] for s, y in rows]
    drawn = np.full((len(rows), measures, draws), np.nan)
    done = 0
    for weights in resample(rows[0][1], names, draws, seed) if rows and not np.isnan(values[0][0]) else ():
        chunk = slice(done, done + len(weights))
        for row, (s, y) in enumerate(rows):
            true, false = roc_counts(s, y, weights)
            drawn[row, 0, chunk] = area_of(true, false)
            for index, fpr in enumerate(fprs, start=1):
                drawn[row, index, chunk] = best_of(true, false, fpr)[0]
        done += len(weights)
    effective = [_effective(names[np.asarray(labels) == label]) for label in (0, 1)]
    intervals = [
        [
            _interval(of[index], [drawn[row, index]], effective[1] if index else min(effective), level)
            for row, of in enumerate(values)
        ]
        for index in range(measures)
    ]
    least = (1 - level) / 2
    for index in range(measures):
        if any(np.isnan(interval.value) for interval in intervals[index]):
            continue
        for row in range(len(rows)):
            ahead = (drawn[row, index] >= drawn[:, index]).mean(axis=1)
            behind = (drawn[row, index] <= drawn[:, index]).mean(axis=1)
            tied[index, row] = (ahead > least) & (behind > least)
    return Comparison(intervals, tied)
