"""Does a set of generated samples copy the training set? Statistics of three sets of vectors, of any features.

They judge a set, where detectors judge an item. Samples are rows of numbers: pixels, or an embedding of images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp, ndtr

from memdet.metrics._distributions import average_ranks

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_AT_ONCE = 2**22  # numbers of a block of differences
_FLOOR = 1e-6  # of a variance, in units of the held-out samples': a Gaussian at a copy would shrink without end
_STEPS = 200  # of expectation maximisation


@dataclass(frozen=True)
class DataCopying:
    """What the test of Meehan et al. (2020) found.

    Attributes:
        statistic: C_T: mean of the cells' z over the held-out samples. Below 0 where generated samples lie nearer to
            the training set than held-out ones do, above 0 where they lie farther.
        z: The same sum in units of its standard deviation where nothing is copied: a standard normal number then.
        p_value: Probability of so low a z where generated and held-out samples have one law.
        cells: Number of those that hold enough generated samples.
    """

    statistic: float
    z: float
    p_value: float
    cells: int


def data_copying(  # three samples, and what the test leaves open
    train: ArrayLike,
    held_out: ArrayLike,
    generated: ArrayLike,
    *,
    cells: int = 10,
    min_generated: int = 20,
    seed: int = 0,
) -> DataCopying:
    """C_T, the three-sample test for data-copying (Meehan, Chaudhuri and Dasgupta, AISTATS 2020, arXiv 2004.05675).

    K-means on the training set parts the space. In each cell the distances of generated and of held-out samples to the
    nearest training sample of the cell are compared by the z of Mann and Whitney's U; the mean over cells is weighted
    by the held-out samples in them. Cells with few generated samples are left out. The authors' code shifts the mean of
    U by half a count; here it is nm/2, so that z is centred, and ties have their variance.

    Args:
        train, held_out, generated: ``[n, d]`` each.
        cells: Of the partition.
        min_generated: Generated samples that a cell must hold.
        seed: Of k-means.

    Raises:
        ValueError: Samples that do not fit together, or no cell with enough of them.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> train, held_out, fresh = (rng.normal(size=(n, 2)) for n in (500, 300, 300))
        >>> data_copying(train, held_out, fresh, cells=3).p_value > 0.01
        True
        >>> copies = train[:300] + 0.01 * rng.normal(size=(300, 2))
        >>> data_copying(train, held_out, copies, cells=3).p_value < 1e-6
        True
    """
    train, held_out, generated = _samples(train, held_out, generated)
    if not 1 <= cells <= len(train):
        raise ValueError(f"cells is a number of cells from 1 to the {len(train)} training samples, got {cells}")
    from sklearn.cluster import KMeans

    partition = KMeans(cells, n_init=10, random_state=seed).fit(train)
    cell_of = [partition.predict(sample) for sample in (train, held_out, generated)]
    weights, scores = [], []
    for cell in range(cells):
        known, kept, made = (
            sample[which == cell] for sample, which in zip((train, held_out, generated), cell_of, strict=True)
        )
        if len(made) >= max(1, min_generated) and len(kept) and len(known):
            weights.append(len(kept))
            scores.append(_mann_whitney_z(nearest(made, known)[0][:, 0], nearest(kept, known)[0][:, 0]))
    if not weights:
        raise ValueError(f"no cell holds {min_generated} generated samples and a held-out one; take fewer cells")
    weight, score = np.array(weights, dtype=np.float64), np.array(scores)
    z = float(weight @ score / np.linalg.norm(weight))
    return DataCopying(float(weight @ score / weight.sum()), z, float(ndtr(z)), len(weights))


def memorized_share(train: ArrayLike, generated: ArrayLike, *, ratio: float = 1 / 3) -> float:
    """Share of generated samples whose nearest training sample is much nearer than the second (Yoon et al. 2023).

    Args:
        train: ``[n, d]``, distinct.
        generated: ``[m, d]``.
        ratio: A sample counts where the nearest distance over the second is below it.

    Raises:
        ValueError: Samples that do not fit together, or fewer than two training samples.

    Example:
        >>> memorized_share([[0.0], [1.0], [4.0]], [[0.1], [0.4], [3.9]])
        0.6666666666666666
    """
    train, generated = _samples(train, generated)
    distances, _ = nearest(generated, train, 2)
    return float(np.mean(distances[:, 0] < ratio * distances[:, 1]))


def authenticity(train: ArrayLike, generated: ArrayLike) -> float:
    """Share of authentic samples, AuthPct over 100 (Alaa et al., ICML 2022, arXiv 2102.08921).

    A generated sample is not authentic where it lies nearer to its nearest training sample than any other training
    sample does.

    Args:
        train: ``[n, d]``, distinct.
        generated: ``[m, d]``.

    Raises:
        ValueError: Samples that do not fit together, or fewer than two training samples.

    Example:
        >>> authenticity([[0.0], [1.0], [4.0]], [[0.1], [-2.0], [3.9], [2.2]])
        0.5
    """
    train, generated = _samples(train, generated)
    distances, where = nearest(generated, train)
    between, _ = nearest(train[where[:, 0]], train, 2)
    return float(np.mean(distances[:, 0] >= between[:, 1]))


def likelihood_gap(train: ArrayLike, held_out: ArrayLike, generated: ArrayLike) -> float:
    """Generalization gap of FLD (Jiralerspong et al., NeurIPS 2023, arXiv 2302.04440). Below 0 where data are copied.

    A Gaussian stands at each generated sample; their variances are fitted to the training set. The gap is 100 / d times
    the mean negative log likelihood of the training samples less that of the held-out ones. Features are centred and
    scaled as the held-out samples are, as in the authors' code; those that do not vary there are left out. That code
    takes 50 epochs of Adam and one wide Gaussian more for the fit, here the variances are found by expectation
    maximisation from the same start, and none is below 1e-6.

    Args:
        train, held_out, generated: ``[n, d]`` each.

    Raises:
        ValueError: Samples that do not fit together, or held-out ones that do not vary.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> train, held_out, fresh = (rng.normal(size=(200, 3)) for _ in range(3))
        >>> copies = train + 0.01 * rng.normal(size=(200, 3))
        >>> likelihood_gap(train, held_out, copies) < 5 * likelihood_gap(train, held_out, fresh) < 0
        True
    """
    samples = _samples(train, held_out, generated)
    mean, spread = samples[1].mean(axis=0), samples[1].std(axis=0)
    varies = spread > 0
    if not varies.any():
        raise ValueError("the held-out samples do not vary")
    known, kept, centres = ((sample - mean)[:, varies] / spread[varies] for sample in samples)
    d = known.shape[1]
    squares = _squares(known, centres)
    variances = np.maximum((squares.min(axis=0) + 1e-3) / d, _FLOOR)
    for _ in range(_STEPS):
        logs = _log_gaussians(squares, variances, d)
        shares = np.exp(logs - logsumexp(logs, axis=1, keepdims=True))
        total = shares.sum(axis=0)
        fitted = (shares * squares).sum(axis=0) / (d * np.maximum(total, 1e-300))
        variances = np.where(total > 1e-12, np.maximum(fitted, _FLOOR), variances)  # without a sample, as it was
    of_train, of_held_out = (
        -float(np.mean(logsumexp(_log_gaussians(found, variances, d), axis=1)))
        for found in (squares, _squares(kept, centres))
    )
    return float(100 / d * (of_train - of_held_out))


def nearest(samples: ArrayLike, known: ArrayLike, count: int = 1) -> tuple[Floats, Ints]:
    """Euclidean distances to the nearest known samples, and which these are.

    Args:
        samples: ``[n, d]``.
        known: ``[m, d]``, at least ``count``.
        count: How many.

    Returns:
        Both ``[n, count]``, nearest first; a sample that is among those known has the distance 0.

    Raises:
        ValueError: Samples that do not fit together, or too few that are known.

    Example:
        >>> distances, where = nearest([[0.0]], [[3.0], [-1.0]], 2)
        >>> distances.tolist(), where.tolist()
        ([[1.0, 3.0]], [[1, 0]])
    """
    samples, known = _samples(samples, known)
    if len(known) < count:
        raise ValueError(f"{count} neighbours are asked for, and {len(known)} samples are known")
    distances, where = [], []
    taken = min(len(known), count + 8)  # rounding may put equal ones in another order
    rows = max(1, _AT_ONCE // max(len(known), taken * known.shape[1]))
    lengths = np.square(known).sum(axis=1)
    for start in range(0, len(samples), rows):
        block = samples[start : start + rows]
        rough = lengths - 2 * block @ known.T
        chosen = np.sort(np.argpartition(rough, taken - 1, axis=1)[:, :taken], axis=1)
        exact = np.sqrt(np.square(block[:, None] - known[chosen]).sum(axis=2))
        order = np.argsort(exact, axis=1, kind="stable")[:, :count]
        distances.append(np.take_along_axis(exact, order, axis=1))
        where.append(np.take_along_axis(chosen, order, axis=1))
    return np.concatenate(distances), np.concatenate(where)


def _mann_whitney_z(made: Floats, kept: Floats) -> float:
    """Standardised number of pairs in which a distance of the first exceeds one of the second; ties count half."""
    m, n = len(made), len(kept)
    ranks = average_ranks(np.concatenate([made, kept]))
    u = ranks[:m].sum() - m * (m + 1) / 2
    _, ties = np.unique(ranks, return_counts=True)
    spread = np.sqrt(m * n / 12 * (m + n + 1 - (ties**3 - ties).sum() / ((m + n) * (m + n - 1))))
    return float((u - m * n / 2) / spread) if spread > 0 else 0.0


def _squares(samples: Floats, centres: Floats) -> Floats:
    """Squared distances, ``[n, m]``, from the differences themselves."""
    rows = max(1, _AT_ONCE // centres.size)
    return np.concatenate(
        [np.square(samples[start : start + rows, None] - centres).sum(axis=2) for start in range(0, len(samples), rows)]
    )


def _log_gaussians(squares: Floats, variances: Floats, d: int) -> Floats:
    """Log density of each sample under each Gaussian of the mixture, ``[n, m]``."""
    logs: Floats = -squares / (2 * variances) - d / 2 * np.log(2 * np.pi * variances) - np.log(squares.shape[1])
    return logs


def _samples(*given: ArrayLike) -> list[Floats]:
    """Samples as float64 ``[n, d]``.

    Raises:
        ValueError: Another shape, none, numbers that are not finite, or different numbers of features.
    """
    samples = [np.asarray(sample, dtype=np.float64) for sample in given]
    for sample in samples:
        if sample.ndim != 2 or not sample.size:
            raise ValueError(f"samples are rows of features, [n, d], got {list(sample.shape)}")
        if sample.shape[1] != samples[0].shape[1]:
            raise ValueError(f"samples have {samples[0].shape[1]} and {sample.shape[1]} features")
        if not np.isfinite(sample).all():
            raise ValueError("a sample holds a number that is not finite")
    return samples
