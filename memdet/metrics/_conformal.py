"""Ranks against reference scores and thresholds with a stated false positive rate: split conformal, no labels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memdet.metrics._auroc import _SLACK, Floats, Ints, Names
from memdet.metrics._bootstrap import LEVEL, Interval
from memdet.metrics._distributions import beta_ppf


@dataclass(frozen=True)
class Threshold:
    """A score above which an item is flagged.

    Attributes:
        value: The threshold; a score is flagged where it is strictly above. NaN where ``n`` cannot resolve the rate.
        fpr: Expected false positive rate, at most the one asked for, and the interval of the realised one over
            reference sets of this size; NaN where not resolvable.
        n: Reference scores.
        n_needed: The fewest that resolve the rate asked for.
    """

    value: float
    fpr: Interval
    n: int
    n_needed: int


def conformal_threshold(reference: ArrayLike, fpr: float, *, level: float = LEVEL) -> Threshold:
    """The threshold whose expected false positive rate is at most ``fpr``.

    With n reference scores it is the k-th largest, ``k = floor(fpr (n + 1))``. For a continuous score the realised rate
    of that threshold is distributed as Beta(k, n + 1 - k) over reference sets (Wilks 1941; Vovk 2012), whatever the
    scores' distribution: its mean is ``k / (n + 1)``. With ties the realised rate is lower. Both hold for new items
    that are exchangeable with the reference, and reference items that are independent of each other: take one of a
    family (:func:`one_of_each`).

    Args:
        reference: ``[n]``, finite scores of items that should not be flagged.
        fpr: In (0, 1).
        level: Of the interval, in (0, 1).

    Raises:
        ValueError: A score that is not finite, another shape, or a rate or level outside (0, 1).

    Example:
        >>> result = conformal_threshold(range(199), fpr=0.01)
        >>> result.value, result.fpr.value, result.n_needed
        (197.0, 0.01, 99)
    """
    scores = _finite(reference)
    for name, share in (("fpr", fpr), ("level", level)):
        if not 0 < share < 1:
            raise ValueError(f"{name} is a share in (0, 1), got {share}")
    n = len(scores)
    needed = math.ceil(1 / fpr - 1 - _SLACK / fpr)
    k = math.floor(fpr * (n + 1) + _SLACK * (n + 1))
    if k < 1:
        undefined = float("nan")
        return Threshold(undefined, Interval(undefined, undefined, undefined), n, needed)
    low, high = beta_ppf([(1 - level) / 2, (1 + level) / 2], k, n + 1 - k)
    return Threshold(float(np.sort(scores)[n - k]), Interval(k / (n + 1), float(low), float(high)), n, needed)


def at_least_as_high(scores: ArrayLike, reference: ArrayLike) -> Ints:
    """How many reference scores are at least as high as each score, ``[m]``.

    ``(1 + count) / (n + 1)`` is the conformal p-value: for an item that is exchangeable with the n reference items it
    is at most ``a`` with probability at most ``a``; :func:`conformal_threshold` flags where it is at most ``fpr``.

    Args:
        scores: ``[m]``, finite.
        reference: ``[n]``, finite.

    Raises:
        ValueError: A score that is not finite, or another shape.

    Example:
        >>> at_least_as_high([5.0, 2.0], [1.0, 2.0, 3.0]).tolist()
        [0, 2]
    """
    ordered = np.sort(_finite(reference))
    return (len(ordered) - np.searchsorted(ordered, _finite(scores), side="left")).astype(np.int64)


def one_of_each(clusters: ArrayLike, *, seed: int = 0) -> Ints:
    """Positions of one item of each cluster, drawn at random, ascending.

    Args:
        clusters: ``[n]`` names.
        seed: Of the draw.

    Example:
        >>> len(one_of_each(["a", "a", "b"]))
        2
    """
    names: Names = np.asarray(clusters)
    order = np.random.default_rng(seed).permutation(len(names))
    _, first = np.unique(names[order], return_index=True)
    return np.sort(order[first]).astype(np.int64)


def _finite(scores: ArrayLike) -> Floats:
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 1:
        raise ValueError(f"scores need the shape (n,), got {s.shape}")
    if not np.isfinite(s).all():
        raise ValueError(f"{int((~np.isfinite(s)).sum())} of {len(s)} scores are not finite; drop or mend them first")
    return s
