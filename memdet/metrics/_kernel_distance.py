"""The kernel distance of two samples (KID, Binkowski et al. 2018) where observations come in clusters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.metrics._auroc import validated_clusters

Floats = NDArray[np.float64]
DEGREE = 3


class KernelDistance(NamedTuple):
    """A squared maximum mean discrepancy.

    Attributes:
        value: Unbiased, so that it may be below 0.
        error: Its standard error, over clusters.
    """

    value: float
    error: float


def kernel_distance(
    first: ArrayLike, second: ArrayLike, first_clusters: ArrayLike, second_clusters: ArrayLike
) -> KernelDistance:
    """Squared maximum mean discrepancy under the kernel ``(x y / d + 1)^3``, unbiased.

    Binkowski, Sutherland, Arbel, Gretton, "Demystifying MMD GANs", ICLR 2018, take it of the features of a network.
    Observations of one cluster, such as the generations of one caption, depend on each other: of each sample only pairs
    of different clusters count, and the standard error is that of the jackknife over clusters.

    Args:
        first, second: Features, ``[n, d]`` and ``[m, d]``.
        first_clusters, second_clusters: ``[n]`` and ``[m]``.

    Raises:
        ValueError: Features of different lengths or not finite, or a sample of a single cluster.

    Example:
        >>> same = np.array([[0.0], [1.0], [2.0]])
        >>> kernel_distance(same, same + 5, ["a", "b", "c"], ["d", "e", "f"]).value > 0
        True
    """
    x, y = (np.atleast_2d(np.asarray(sample, dtype=np.float64)) for sample in (first, second))
    if x.shape[1:] != y.shape[1:] or not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("features are finite, of shapes (n, d) and (m, d)")
    of_x, of_y = (
        np.unique(validated_clusters(names, sample.shape[:1]), return_inverse=True)[1]
        for names, sample in ((first_clusters, x), (second_clusters, y))
    )
    if of_x.max() == 0 or of_y.max() == 0:
        raise ValueError("a sample of one cluster has no pairs of different ones")
    within_x, within_y = _within(x, of_x), _within(y, of_y)
    across = _sums(x, y, of_x, of_y)
    sizes = np.bincount(of_x), np.bincount(of_y)
    total, pairs = across.sum(), float(sizes[0].sum() * sizes[1].sum())
    value = within_x[0] + within_y[0] - 2 * total / pairs
    variance = 0.0
    for axis, (_, without) in enumerate((within_x, within_y)):
        rest = total - across.sum(axis=1 - axis)
        n_rest = pairs - sizes[axis] * float(sizes[1 - axis].sum())
        left = without - 2 * rest / n_rest
        k = len(left)
        variance += (k - 1) / k * float(np.square(left - left.mean()).sum())
    return KernelDistance(float(value), variance**0.5)


def _within(sample: Floats, clusters: NDArray[np.int64]) -> tuple[float, Floats]:
    """Mean of the kernel over pairs of different clusters, and that mean without each cluster; NaN without pairs."""
    sums = _sums(sample, sample, clusters, clusters)
    np.fill_diagonal(sums, 0.0)
    sizes = np.bincount(clusters).astype(np.float64)
    pairs = sizes[:, None] * sizes[None, :]
    np.fill_diagonal(pairs, 0.0)
    total, n = sums.sum(), pairs.sum()
    with np.errstate(invalid="ignore", divide="ignore"):
        without = (total - 2 * sums.sum(axis=1)) / (n - 2 * pairs.sum(axis=1))
    return float(total / n), without


def _sums(x: Floats, y: Floats, of_x: NDArray[np.int64], of_y: NDArray[np.int64]) -> Floats:
    """Sum of the kernel over the pairs of each two clusters, ``[clusters of x, clusters of y]``."""
    kernel = (x @ y.T / x.shape[1] + 1) ** DEGREE
    rows = np.zeros((int(of_x.max()) + 1, len(y)))
    np.add.at(rows, of_x, kernel)
    sums = np.zeros((len(rows), int(of_y.max()) + 1))
    np.add.at(sums.T, of_y, rows.T)
    return sums
