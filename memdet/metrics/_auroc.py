"""Point estimates: AUROC and the true positive rate at a false positive rate."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def validated(scores: ArrayLike, labels: ArrayLike) -> tuple[Floats, Ints]:
    """Scores as float64 and labels as integers, one dimension each.

    Raises:
        ValueError: Different lengths, more than one dimension, a score that is not finite, a label other than 0 and 1.
    """
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if s.ndim != 1 or y.shape != s.shape:
        raise ValueError(f"scores and labels need one shape (n,), got {s.shape} and {y.shape}")
    if not np.isfinite(s).all():
        raise ValueError(f"{int((~np.isfinite(s)).sum())} scores are not finite")
    if not np.isin(y, (0, 1)).all():
        raise ValueError("labels are 0 or 1")
    return s, y.astype(np.int64)


def auroc(scores: ArrayLike, labels: ArrayLike) -> float:
    """Probability that a positive scores above a negative, ties counting half (mid-ranks).

    Never flipped: a value below .5 means worse than chance.

    Args:
        scores: ``[n]``, larger means positive; any finite range.
        labels: ``[n]``, 1 or 0.

    Returns:
        In [0, 1]; NaN where a class is missing.

    Raises:
        ValueError: As for :func:`validated`.

    Example:
        >>> auroc([3.0, 2.0, 2.0, 1.0], [1, 1, 0, 0])
        0.875
    """
    s, y = validated(scores, labels)
    return float(weighted_auroc(s, y, np.ones((1, len(s))))[0])


def tpr_at_fpr(scores: ArrayLike, labels: ArrayLike, fpr: float = 0.01) -> float:
    """Largest true positive rate whose realised false positive rate is at most ``fpr``.

    An item is flagged where its score reaches the threshold; thresholds are the scores themselves, or above them all.

    Args:
        scores, labels: As for :func:`auroc`.
        fpr: In (0, 1).

    Returns:
        In [0, 1]; NaN ("not resolvable") where one negative is more than ``fpr`` of them all, or a class is missing.

    Example:
        >>> tpr_at_fpr([3.0, 1.0, 2.0, 0.0], [1, 1, 0, 0], fpr=0.5)
        1.0
    """
    s, y = validated(scores, labels)
    negatives = int((y == 0).sum())
    if negatives == 0 or negatives == len(y) or 1 / negatives > fpr:
        return float("nan")
    return float(weighted_tpr(s, y, np.ones((1, len(s))), fpr)[0])


def realised_fpr(scores: ArrayLike, labels: ArrayLike, fpr: float = 0.01) -> float:
    """False positive rate at the threshold that :func:`tpr_at_fpr` takes; NaN where that is not resolvable."""
    s, y = validated(scores, labels)
    tpr = tpr_at_fpr(s, y, fpr)
    if np.isnan(tpr):
        return float("nan")
    _, true, false = _cumulative(s, y, np.ones((1, len(s))))
    reached = np.isclose(true[0], tpr) & (false[0] <= fpr)
    return float(false[0][reached].min()) if reached.any() else 0.0


def weighted_auroc(scores: Floats, labels: Ints, weights: Floats) -> Floats:
    """AUROC of each row of integer ``weights`` ``[draws, n]``: an item counts as often as its weight says."""
    _, true, false = _cumulative(scores, labels, weights)
    before = np.concatenate([np.zeros((len(true), 1)), true[:, :-1]], axis=1)
    steps = np.diff(false, axis=1, prepend=0.0)
    area: Floats = (steps * (true + before) / 2).sum(axis=1)
    return area


def weighted_tpr(scores: Floats, labels: Ints, weights: Floats, fpr: float) -> Floats:
    """True positive rate at ``fpr`` of each row of ``weights`` ``[draws, n]``."""
    _, true, false = _cumulative(scores, labels, weights)
    allowed = false <= fpr + 1e-12
    best: Floats = np.where(allowed, true, 0.0).max(axis=1)
    return best


def _cumulative(scores: Floats, labels: Ints, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Distinct thresholds, descending, and the rates ``[draws, thresholds]`` of positives and negatives at each."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
    w, y = weights[:, order], labels[order]
    with np.errstate(invalid="ignore", divide="ignore"):
        true = np.cumsum(w * (y == 1), axis=1)
        false = np.cumsum(w * (y == 0), axis=1)
        return ranked[last], true[:, last] / true[:, -1:], false[:, last] / false[:, -1:]
