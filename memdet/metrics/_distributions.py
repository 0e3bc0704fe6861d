"""Tails, quantiles and ranks, equal to those of `scipy.stats` to the last bit, from what it calls itself.

To import `scipy.stats` takes half a second, longer than a table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]


def average_ranks(values: ArrayLike) -> Floats:
    """Ranks from 1, ties having the mean of theirs.

    Args:
        values: One dimension, finite.

    Example:
        >>> average_ranks([3.0, 1.0, 3.0]).tolist()
        [2.5, 1.0, 2.5]
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def normal_sf(x: ArrayLike) -> Floats:
    """Probability that a standard normal number exceeds ``x``."""
    return np.asarray(special.ndtr(-np.asarray(x)))


def student_sf(x: ArrayLike, freedom: ArrayLike) -> Floats:
    """Probability that Student's t with so many degrees of freedom exceeds ``x``.

    Example:
        >>> float(student_sf(0.0, 7))
        0.5
    """
    return np.asarray(special.stdtr(freedom, -np.asarray(x)))


def student_isf(tail: ArrayLike, freedom: ArrayLike) -> Floats:
    """What Student's t exceeds with the probability ``tail``."""
    return np.asarray(-special.stdtrit(freedom, tail))


def beta_ppf(share: ArrayLike, a: ArrayLike, b: ArrayLike) -> Floats:
    """Quantile of the beta distribution, ``share`` in [0, 1]."""
    return np.asarray(special.betaincinv(a, b, share))
