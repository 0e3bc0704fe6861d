"""Point estimates: AUROC and the true positive rate at a false positive rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Names = NDArray[Any]

_SLACK = 1e-12  # so that a rate such as 0.3 - 0.2 still admits 1 of 10


def validated(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    """Scores as float64 and labels as integers, one dimension each.

    Raises:
        ValueError: Different lengths, more than one dimension, a score that is not finite, a label other than 0 and 1.
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if s.ndim != 1 or y.shape != s.shape:
        raise ValueError(f"scores and labels need one shape (n,), got {s.shape} and {y.shape}")
    if not np.isfinite(s).all():
        raise ValueError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are not finite; drop or mend them first")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels are 0 or 1")
    return s, y.astype(np.int64)


def validated_clusters(clusters: ArrayLike, shape: tuple[int, ...]) -> Names:
    """Names of clusters, one an item.

    Raises:
        ValueError: Another shape than that of the scores, or an item without a cluster (None, NaN).
    """
    names = np.asarray(clusters)
    if names.shape != shape:
        raise ValueError(f"clusters need shape {shape}, got {names.shape}")
    if names.dtype.kind in "fO" and any(name is None or name != name for name in names.tolist()):
        # NumPy holds all missing names for equal, which would make one family of unrelated items.
        raise ValueError("an item has no cluster; give an item without near-duplicates a cluster of its own")
    return names


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting half (mid-ranks).

    Never flipped, clipped or squashed: a value below .5 means worse than chance. Exactly 1 (0) where every positive
    scores above (below) every negative.

    Args:
        scores: ``[n]``, larger means positive; any finite range.
        labels: ``[n]``, 1 or 0.

    Returns:
        In [0, 1]; NaN where a class is missing.

    Raises:
        ValueError: Shapes differ or are not ``[n]``, a score is not finite, a label is neither 0 nor 1.

    Example:
        >>> auroc([3.0, 2.0, 2.0, 1.0], [1, 1, 0, 0])
        0.875
    """
    s, y = validated(scores, labels)
    return float(weighted_auroc(s, y, np.ones((1, len(s))))[0])


def tpr_at_fpr(scores: ArrayLike, labels: ArrayLike, fpr: float = 0.01) -> float:
    """Largest true positive rate whose realised false positive rate is at most ``fpr``.

    An item is flagged where its score reaches the threshold; thresholds are the scores themselves, or above them all.
    Never the point nearest to ``fpr``, never interpolated.

    Args:
        scores, labels: As for :func:`auroc`.
        fpr: In (0, 1).

    Returns:
        In [0, 1]; NaN ("not resolvable") where one negative is more than ``fpr`` of them all, or a class is missing.

    Raises:
        ValueError: As for :func:`auroc`, or ``fpr`` outside (0, 1).

    Example:
        >>> tpr_at_fpr([3.0, 1.0, 2.0, 0.0], [1, 1, 0, 0], fpr=0.5)
        1.0
    """
    return operating_point(scores, labels, fpr)[0]


def realised_fpr(scores: ArrayLike, labels: ArrayLike, fpr: float = 0.01) -> float:
    """False positive rate at the threshold that :func:`tpr_at_fpr` takes.

    The smallest, where several thresholds reach the same true positive rate.

    Args:
        scores, labels, fpr: As for :func:`tpr_at_fpr`.

    Returns:
        In [0, fpr]; NaN where :func:`tpr_at_fpr` is.

    Raises:
        ValueError: As for :func:`tpr_at_fpr`.

    Example:
        >>> realised_fpr([4.0, 3.0, 2.0, 1.0, 0.0], [0, 1, 0, 0, 0], fpr=0.5)
        0.25
    """
    return operating_point(scores, labels, fpr)[1]


def roc_curve(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """False and true positive rates at all thresholds.

    Args:
        scores, labels: As for :func:`auroc`; both classes are present.

    Returns:
        FPR, TPR and threshold, ``[points]`` each, from (0, 0) above all scores to (1, 1).

    Raises:
        ValueError: As for :func:`auroc`, or a class is missing.

    Example:
        >>> fpr, tpr, thresholds = roc_curve([3.0, 2.0, 2.0, 1.0], [1, 1, 0, 0])
        >>> fpr.tolist(), tpr.tolist(), thresholds.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0], [inf, 3.0, 2.0, 1.0])
    """
    s, y = validated(scores, labels)
    if not 0 < y.sum() < len(y):
        raise ValueError("both labels are needed")
    true, false = roc_counts(s, y, np.ones((1, len(s))))
    return false[0] / false[0, -1], true[0] / true[0, -1], np.append(np.inf, np.unique(s)[::-1])


def roc_counts(scores: Floats, labels: Ints, weights: Floats) -> tuple[Floats, Floats]:
    """Flagged positives and negatives ``[draws, 1 + thresholds]`` at descending thresholds, the first above all scores.

    An item counts as often as its weight says. Whole counts rather than rates, so that what is made of them is exact
    and a perfect detector gets exactly 1.

    Args:
        scores, labels: ``[n]``, validated.
        weights: ``[draws, n]``, whole numbers.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, w, y = scores[order], weights[:, order], labels[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.empty(0, np.int64)
    start = np.zeros((len(weights), 1))
    true = np.cumsum(w * (y == 1), axis=1)[:, last]
    false = np.cumsum(w * (y == 0), axis=1)[:, last]
    return np.hstack([start, true]), np.hstack([start, false])


def area_of(true: Floats, false: Floats) -> Floats:
    """AUROC ``[draws]`` of :func:`roc_counts`; NaN where a class is missing."""
    twice = (np.diff(false, axis=1) * (true[:, 1:] + true[:, :-1])).sum(axis=1)
    with np.errstate(invalid="ignore"):
        area: Floats = twice / (2 * true[:, -1] * false[:, -1])
    return area


def best_of(true: Floats, false: Floats, fpr: float) -> tuple[Floats, Floats]:
    """True and false positive rate ``[draws]`` at the best threshold that ``fpr`` allows; both classes are present."""
    allowed = false <= (fpr + _SLACK) * false[:, -1:]
    best = np.where(allowed, true, -1.0).argmax(axis=1)  # the first of several, hence the smallest false positive rate
    rows = np.arange(len(true))
    return true[rows, best] / true[:, -1], false[rows, best] / false[:, -1]


@dataclass(frozen=True)
class Ranking:
    """Items from the highest score to the lowest.

    Attributes:
        labels: ``[n]``, in the order given.
        order: Places of the items, ``[n]``.
        positive: Whether each is one, ``[n]`` in that order.
        last: Where each run of equal scores ends, ascending.
    """

    labels: Floats
    order: NDArray[np.int32]
    positive: NDArray[np.bool_]
    last: NDArray[np.int32]


def ranking(scores: Floats, labels: Floats) -> Ranking:
    """Rank validated scores ``[n]``, of at least one item, by labels that all rankings of the items share."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return Ranking(labels, order.astype(np.int32), labels[order] == 1, last.astype(np.int32))


def best_rates(ranked: Ranking, weights: Floats, fpr: float) -> Floats:
    """True positive rate ``[draws]`` of :func:`best_of`, of which both classes are present in every draw.

    The threshold lies among the highest scores, and no others are looked at: as many as the draws need.

    Args:
        ranked: The items.
        weights: ``[draws, n]``, whole numbers.
        fpr: In (0, 1).
    """
    n, positive = len(ranked.order), ranked.positive
    of_positive = weights @ ranked.labels
    of_negative = weights.sum(axis=1) - of_positive
    allowed = ((fpr + _SLACK) * of_negative)[:, None]
    reach = int(np.searchsorted(np.cumsum(~positive), 1.5 * fpr * (~positive).sum())) + 1
    while True:
        drawn = weights[:, ranked.order[:reach]]
        false = np.cumsum(drawn * ~positive[:reach], axis=1)
        if reach >= n or (false[:, -1:] > allowed).all():
            break
        reach = min(n, 2 * reach)
    last = ranked.last[: np.searchsorted(ranked.last, reach)]
    true = np.cumsum(drawn * positive[:reach], axis=1)[:, last]
    flagged = (false[:, last] <= allowed).sum(axis=1)
    rates: Floats = np.hstack([np.zeros((len(true), 1)), true])[np.arange(len(true)), flagged] / of_positive
    return rates


def flagged_at(scores: Floats, labels: Ints, fpr: float) -> Floats:
    """Which positives the threshold of :func:`tpr_at_fpr` flags in each row of ``scores`` ``[rows, n]``.

    Returns:
        1 or 0, ``[rows, positives]``; the rate is resolvable.
    """
    positive, negative = scores[:, labels == 1], scores[:, labels == 0]
    first_not = negative.shape[1] - 1 - int((fpr + _SLACK) * negative.shape[1])
    above = np.partition(negative, first_not, axis=1)[:, first_not, None]  # the highest negative that may not be
    return (positive > above).astype(np.float64)


def weighted_auroc(scores: Floats, labels: Ints, weights: Floats) -> Floats:
    """AUROC ``[draws]`` of each row of ``weights`` ``[draws, n]``: an item counts as often as its weight says."""
    return area_of(*roc_counts(scores, labels, weights))


def operating_point(scores: ArrayLike, labels: ArrayLike, fpr: float) -> tuple[float, float]:
    """:func:`tpr_at_fpr` and :func:`realised_fpr`."""
    if not 0 < fpr < 1:
        raise ValueError(f"fpr is a share in (0, 1), got {fpr}")
    s, y = validated(scores, labels)
    negatives = int((y == 0).sum())
    if negatives == 0 or negatives == len(y) or 1 / negatives > fpr + _SLACK:
        return float("nan"), float("nan")
    true, false = best_of(*roc_counts(s, y, np.ones((1, len(s)))), fpr)
    return float(true[0]), float(false[0])
