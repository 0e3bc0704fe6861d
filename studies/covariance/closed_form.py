"""Conditions of Gaussian data, at the first step, in the eigenbasis of the data's covariance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memdet.metrics import auroc

DIMENSIONS = (64, 256, 1_024, 4_096)
DECAYS = (0.0, 0.5, 1.0, 2.0)
ALPHA, SIGMA = 0.0706, 0.9975  # of Stable Diffusion's schedule at t = 981
ITEMS = 2_000  # of each label
TARGET = 0.9  # AUROC of the score difference in every row, so that rows compare
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One kind of data.

    Attributes:
        d: Dimensions.
        decay: Variance k is in proportion to ``k ** -decay``.
        directions: Participation ratio of the variances, ``(sum)^2 / (sum of squares)``.
        moved: AUROC of the Hessian norm where a condition moves the mean alone.
        narrowed: The same where a memorized condition is also narrower than an ordinary one.
        whitened: That of ``moved`` after division by the variances.
    """

    d: int
    decay: float
    directions: float
    moved: float
    narrowed: float
    whitened: float


def spectrum(d: int, decay: float) -> Floats:
    """Variances of mean 1, largest first, ``[d]``.

    Example:
        >>> spectrum(2, 1.0).round(4).tolist()
        [1.3333, 0.6667]
    """
    variances = np.arange(1, d + 1, dtype=np.float64) ** -decay
    mean: np.float64 = variances.mean()
    return np.asarray(variances / mean)


def directions(variances: Floats) -> float:
    """Participation ratio: how many directions share the variance.

    Example:
        >>> directions(np.ones(5)), directions(np.array([1.0, 0.0]))
        (5.0, 1.0)
    """
    return float(variances.sum() ** 2 / (variances**2).sum())


def scores(x: Floats, mean: Floats, variance: Floats, data: Floats) -> tuple[Floats, Floats]:
    """``s_c - s_u`` and ``J_c - J_u`` of Gaussian data, a coordinate of the eigenbasis each.

    Args:
        x: Noisy sample, ``[d]``.
        mean: Of each condition, ``[n, d]``.
        variance: Of each condition, ``[d]`` or ``[n, d]``.
        data: Of the null branch, whose mean is 0, ``[d]``.

    Returns:
        ``[n, d]`` and ``[n, d]`` or ``[d]``; the Jacobian is diagonal.
    """
    cond, null = ALPHA**2 * variance + SIGMA**2, ALPHA**2 * data + SIGMA**2
    return (ALPHA * mean - x) / cond + x / null, 1 / null - 1 / cond


def measure(d: int, decay: float, seed: int = 0) -> Row:
    """One row. A memorized condition is a point of the data; an ordinary one has part of the data's variance."""
    rng, data = np.random.default_rng([seed, d, round(10 * decay)]), spectrum(d, decay)
    x, labels = rng.standard_normal(d), np.repeat([1, 0], ITEMS)
    points = rng.standard_normal((2 * ITEMS, d)) * np.sqrt(data)

    def areas(kept: float) -> tuple[float, float, float, float]:
        """Of the score difference, and of the Hessian norms, where ordinary means have ``kept`` of the variance."""
        means = np.where(labels[:, None] == 1, 1.0, np.sqrt(kept)) * points
        width = (1 - kept) * data  # of an ordinary condition about its mean
        moved, hessian = scores(x, means, width, data)
        of_width = np.where(labels[:, None] == 1, 0.0, width)
        both, of_both = scores(x, means, of_width, data)
        norms = (moved, moved * hessian, both * of_both, moved * hessian / data)
        found = [float(auroc(np.linalg.norm(norm, axis=1), labels)) for norm in norms]
        return found[0], found[1], found[2], found[3]

    low, high = 0.0, 1.0
    for _ in range(30):
        kept = (low + high) / 2
        low, high = (kept, high) if areas(kept)[0] > TARGET else (low, kept)
    _, moved, narrowed, whitened = areas((low + high) / 2)
    return Row(d, decay, directions(data), moved, narrowed, whitened)
