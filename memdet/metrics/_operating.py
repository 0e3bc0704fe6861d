"""Several detectors on the same items at several false positive rates: intervals, and who can be told apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.metrics._auroc import area_of, best_of, roc_counts, tpr_at_fpr, validated, validated_clusters
from memdet.metrics._bootstrap import DRAWS, LEVEL, Interval, _check, _interval, resample


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare_detectors` found of ``k`` detectors.

    Attributes:
        tpr: At each rate the TPR of each detector, ``[rates][k]``; NaN where it is not resolvable.
        tied: ``[1 + rates, k, k]``: by AUROC, then by the TPR at each rate. True where the data do not tell two
            detectors apart, and where the measure is undefined.
    """

    tpr: list[list[Interval]]
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
    """TPR at several false positive rates of detectors on the same items, and a paired comparison of each pair.

    Two detectors are tied in a measure where the percentile interval of its difference over the draws of a paired
    cluster bootstrap holds 0: neither is ahead in more than ``(1 + level) / 2`` of the draws. No correction is made
    for the number of pairs. Draws and intervals of the TPR are those of :func:`evaluate_scores`.

    Args:
        scores: ``[k, n]``, finite; a row a detector.
        labels, clusters, draws, seed, level: As for :func:`evaluate_scores`.
        fprs: False positive rates in (0, 1).

    Raises:
        ValueError: As for :func:`evaluate_scores` and :func:`tpr_at_fpr`.

    Example:
        >>> scores = [[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]]
        >>> result = compare_detectors(scores, [1, 1, 0, 0], ["a", "b", "c", "d"], [0.5])
        >>> [interval.value for interval in result.tpr[0]], bool(result.tied[0, 0, 1])
        ([1.0, 0.0], False)
    """
    table = [validated(row, labels)[0] for row in np.asarray(scores, dtype=np.float64)]
    y = np.asarray(labels, dtype=np.int64)
    names = validated_clusters(clusters, y.shape)
    _check(draws, level)
    drawn = np.full((1 + len(fprs), len(table), draws), np.nan)
    done = 0
    for weights in resample(y, names, draws, seed) if table and 0 < y.sum() < len(y) else ():
        chunk = slice(done, done + len(weights))
        for row, s in enumerate(table):
            true, false = roc_counts(s, y, weights)
            drawn[0, row, chunk] = area_of(true, false)
            for index, fpr in enumerate(fprs, start=1):
                drawn[index, row, chunk] = best_of(true, false, fpr)[0]
        done += len(weights)
    values = [[tpr_at_fpr(s, y, fpr) for s in table] for fpr in fprs]
    _, sizes = np.unique(names[y == 1], return_counts=True)
    effective = float(sizes.sum() ** 2 / np.square(sizes).sum()) if len(sizes) else 0.0
    tpr = [
        [_interval(value, [own], effective, level) for value, own in zip(of_rate, by_row, strict=True)]
        for of_rate, by_row in zip(values, drawn[1:], strict=True)
    ]
    tied = np.ones((len(drawn), len(table), len(table)), dtype=bool)
    for index, by_row in enumerate(drawn):
        if np.isnan(by_row).any() or (index and np.isnan(values[index - 1]).any()):
            continue
        for row, own in enumerate(by_row):
            ahead, behind = (own >= by_row).mean(axis=1), (own <= by_row).mean(axis=1)
            tied[index, row] = np.minimum(ahead, behind) > (1 - level) / 2
    return Comparison(tpr, tied)
