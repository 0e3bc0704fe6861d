"""Detectors on several sample sets at once: one bootstrap over all of them, and ranks with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from memdet.metrics._auroc import Floats, Ints, validated, validated_clusters
from memdet.metrics._bootstrap import DRAWS, LEVEL, Interval, check
from memdet.metrics._draws import area_moves, validated_draws
from memdet.metrics._placements import NO_VARIANCE, Layout, contributions, layout


@dataclass(frozen=True)
class SetScores:
    """Scores of detectors on one sample set.

    Attributes:
        labels: ``[n]``, 1 or 0; each has two clusters at least.
        units: ``[n]``, names of clusters. One name in several sets is one cluster, whose items are drawn together.
        scores: ``[n]`` each, by detector; means over noise draws.
        by_seed: ``[n, seeds]`` by detector, as for :func:`~memdet.metrics.evaluate_table`; those that no draw moves are
            left out.
        seeds: Numbers of the noise seeds, in the order of those columns.
        world: Sets of one world have the same noise under one seed.
    """

    labels: ArrayLike
    units: ArrayLike
    scores: Mapping[str, ArrayLike]
    by_seed: Mapping[str, ArrayLike] = field(default_factory=dict)
    seeds: Sequence[int] = ()
    world: str = ""


@dataclass(frozen=True)
class SetAreas:
    """AUROCs of ``k`` detectors on some sets, and what a bootstrap makes of them.

    Attributes:
        detectors: Names of the rows.
        values: AUROC, ``[k, sets]``; NaN where a detector has no scores.
        plain: How far each draw of the bootstrap is off, ``[draws, k, sets]``; 0 where the AUROC is NaN.
        heavy: The same with the tails of Student's t, whose degrees of freedom are those of the standard errors: for
            items the effective number of clusters of the smaller label less 1, for noise draws their number less 1.
        least: ``[sets]``, below which no variance of an AUROC is taken: that of Beta(n, 1), n being the effective
            number of clusters of the smaller label.
        clusters: ``[sets]``, clusters of the label that has fewer.
    """

    detectors: list[str]
    values: Floats
    plain: Floats
    heavy: Floats
    least: Floats
    clusters: Ints

    def means(self, weights: ArrayLike, rows: Ints, less: Ints) -> Means:
        """Weighted sums over sets of the AUROC of one detector minus that of another.

        Args:
            weights: ``[sets]``.
            rows: ``[results, sets]``, row of the detector whose AUROC counts in a set.
            less: ``[sets]``, row of the one that is taken off, such as the best control; where both are one row the
                difference is 0.
        """
        w, sets = np.asarray(weights, dtype=np.float64), np.arange(self.values.shape[1])
        values, plain, heavy = (
            (part[..., rows, sets] - part[..., less, sets][..., None, :]) @ w
            for part in (self.values, self.plain, self.heavy)
        )
        return Means(values, plain, heavy, int(self.clusters.min()))

    def variance_of_mean(self, row: int, sets: Sequence[int]) -> float:
        """Variance of a detector's mean AUROC over some sets, by the bootstrap, no less than that of ``least``."""
        off = self.plain[:, row, list(sets)].mean(axis=1)
        return max(float(off.var()), float(self.least[list(sets)].sum()) / len(sets) ** 2)


@dataclass(frozen=True)
class Means:
    """A number that each of ``k`` detectors has, and how far draws of a bootstrap are off.

    Attributes:
        values: ``[k]``.
        plain, heavy: ``[draws, k]``, as for :class:`SetAreas`.
        clusters: Of the smallest label of any set.
    """

    values: Floats
    plain: Floats
    heavy: Floats
    clusters: int

    def intervals(self, *, level: float = LEVEL) -> list[Interval]:
        """Of each number by itself: as far on both sides as that share of draws is off, within [-1, 1]."""
        check(1, level)
        reach = np.quantile(np.abs(self.heavy), level, axis=0)
        low, high = np.maximum(self.values - reach, -1), np.minimum(self.values + reach, 1)
        return [Interval(*map(float, row)) for row in zip(self.values, low, high, strict=True)]


@dataclass(frozen=True)
class Ranks:
    """Ranks of ``k`` detectors, the largest number first.

    Attributes:
        values: 1 plus the number of detectors with a larger number, ``[k]``.
        low, high: Simultaneous interval of each rank, ``[k]``: all of them hold with the probability of the level.
        above: ``[k, k]``, whether the detector of the row is shown to be above that of the column.
    """

    values: Ints
    low: Ints
    high: Ints
    above: Ints


def bootstrap_sets(sets: Sequence[SetScores], *, draws: int = DRAWS, seed: int = 0) -> SetAreas:
    """AUROCs of all detectors on all sets, and one bootstrap over clusters and noise draws that all sets share.

    A cluster has one weight in a draw, in whichever sets and under whichever labels its items stand: standard
    exponential, which is the Bayesian bootstrap (Rubin 1981), so that no draw of a few items lacks a label. Deviations
    are widened by the root of ``(n + 1) / (n - 1)``, n being the effective number of clusters of the label with fewer,
    for weighted means vary less than means of other items do.

    Noise draws add the jackknife's moves, less the interaction with clusters, as everywhere in :mod:`memdet.metrics`.
    Each seed of a world has one normal number in a draw, for all detectors and sets.

    Args:
        sets: One or more.
        draws: Of the bootstrap, at least 1.
        seed: Of its generator.

    Raises:
        ValueError: No sets, a label with fewer than two clusters, or as for :func:`~memdet.metrics.evaluate_table`.

    Example:
        >>> one = SetScores([1, 1, 0, 0], ["a", "b", "c", "d"], {"found": [3, 1, 2, 0], "random": [0, 1, 1, 0]})
        >>> areas = bootstrap_sets([one], draws=100)
        >>> areas.detectors, areas.values.tolist(), areas.plain.shape
        (['found', 'random'], [[0.75], [0.5]], (100, 2, 1))
    """
    if not sets:
        raise ValueError("no sets: give one or more")
    check(draws, LEVEL)
    rng = np.random.default_rng(seed)
    detectors = list(dict.fromkeys(name for one in sets for name in one.scores))
    units = [validated_clusters(one.units, np.shape(one.labels)).astype(str) for one in sets]
    names = np.unique(np.concatenate(units))
    weights = rng.standard_exponential((draws, len(names)))
    noise = _noise(sets, draws, rng)
    values, least, clusters = np.full((len(detectors), len(sets)), np.nan), np.empty(len(sets)), []
    plain = np.zeros((draws, len(detectors), len(sets)))
    heavy = np.zeros_like(plain)
    for place, (one, of_set) in enumerate(zip(sets, units, strict=True)):
        if not one.scores:
            raise ValueError("a set without scores: leave it out")
        columns = [validated(scores, one.labels) for scores in one.scores.values()]
        table, where = np.stack([scores for scores, _ in columns]), layout(columns[0][1], of_set)
        if not where.testable:
            raise ValueError("a label has fewer than two clusters in some set: leave that set out")
        rows = [detectors.index(name) for name in one.scores]
        values[rows, place] = contributions(table, where).areas
        n = min(where.effective)
        least[place] = n / ((n + 1) ** 2 * (n + 2))
        clusters.append(min(where.clusters[1:]))
        of_items = _weighted_areas(table, where, weights[:, np.searchsorted(names, of_set)])
        of_items = (of_items - of_items.mean(axis=0)) * np.sqrt((n + 1) / (n - 1))
        normal, student = _moved(one, table, where, noise)
        plain[:, rows, place] = of_items + normal
        heavy[:, rows, place] = of_items * _stretch(n - 1, rng.random(draws))[:, None] + student
    return SetAreas(detectors, values, plain, heavy, least, np.array(clusters))


def ranks_of(means: Means, *, level: float = LEVEL) -> Ranks:
    """Ranks with simultaneous intervals, from all differences at once (Mogstad et al. 2024).

    Each difference is divided by its standard error, and the bootstrap gives what the largest of them exceeds with
    probability ``1 - level``. Differences farther from 0 than that are shown. Percentiles of the ranks in a bootstrap
    would be wrong where detectors are nearly equal. Where a difference never varies, the exact sign test over the
    clusters of the smallest label decides, with Bonferroni's factor.

    Args:
        means: Of one detector or more.
        level: That all intervals hold, in (0, 1).

    Example:
        >>> off = np.random.default_rng(0).normal(size=(500, 3))
        >>> ranks = ranks_of(Means(np.array([0.0, 9.0, 8.0]), off, off, clusters=20))
        >>> ranks.values.tolist(), ranks.low.tolist(), ranks.high.tolist()
        ([3, 1, 2], [3, 1, 1], [3, 2, 2])
    """
    check(1, level)
    k = len(means.values)
    gaps = np.round(means.values[:, None] - means.values, 12)  # what differs by rounding alone is one number
    errors = np.stack([(means.plain[:, [row]] - means.plain).std(axis=0) for row in range(k)])
    constant = errors**2 <= NO_VARIANCE
    scale = np.where(constant, np.inf, errors)
    largest = np.zeros(len(means.heavy))
    for row in range(k):
        off = np.abs(means.heavy[:, [row]] - means.heavy) / scale[row]
        largest = np.maximum(largest, off.max(axis=1))
    by_sign = k * (k - 1) / 2 * 2.0 ** (1 - means.clusters) <= 1 - level
    above = (gaps > 0) & np.where(constant, by_sign, gaps > np.quantile(largest, level) * errors)
    return Ranks(1 + (gaps < 0).sum(axis=1), 1 + above.sum(axis=0), k - above.sum(axis=1), above.astype(np.int64))


def tau_between(values: ArrayLike, variances: ArrayLike) -> float:
    """Standard deviation of a true number over worlds, after DerSimonian and Laird (1986).

    Args:
        values: ``[worlds]``, what was measured in each, at least two.
        variances: ``[worlds]``, of the measurements, above 0.

    Returns:
        tau, in the units of ``values``; 0 where the values differ no more than they would by chance.

    Raises:
        ValueError: Fewer than two worlds, other shapes, or a variance that is not above 0.

    Example:
        >>> tau_between([0.9, 0.9, 0.9], [0.01, 0.02, 0.03])
        0.0
        >>> round(tau_between([0.5, 0.7, 0.9], [0.0001, 0.0001, 0.0001]), 3)
        0.2
    """
    effects, within = np.asarray(values, dtype=np.float64), np.asarray(variances, dtype=np.float64)
    if effects.ndim != 1 or effects.shape != within.shape or len(effects) < 2:
        raise ValueError(f"values and variances need one shape (worlds,) of two or more, got {effects.shape}")
    if not (np.isfinite(effects).all() and np.isfinite(within).all() and (within > 0).all()):
        raise ValueError("values are finite, and variances finite and above 0")
    from statsmodels.stats.meta_analysis import combine_effects  # a second that nothing else here needs

    with np.errstate(all="ignore"):  # it also divides by a variance from which a negative tau^2 is taken
        square = float(combine_effects(effects, within, method_re="dl").tau2)
    return float(np.sqrt(max(0.0, square)))


@dataclass(frozen=True)
class _Noise:
    """What a draw of the bootstrap does to noise draws.

    Attributes:
        normal: A normal number for each world and seed, ``[draws]``.
        tails: Where each world's chi-square lies, ``[draws]`` in (0, 1).
    """

    normal: dict[tuple[str, int], Floats]
    tails: dict[str, Floats]


def _noise(sets: Sequence[SetScores], draws: int, rng: np.random.Generator) -> _Noise:
    seeds = sorted({(one.world, seed) for one in sets for seed in one.seeds})
    worlds = sorted({world for world, _ in seeds})
    return _Noise({key: rng.normal(size=draws) for key in seeds}, {world: rng.random(draws) for world in worlds})


def _weighted_areas(scores: Floats, where: Layout, weights: Floats) -> Floats:
    """AUROC ``[draws, rows]`` of scores ``[rows, n]``, an item counting as its weight ``[draws, n]`` says."""
    positive, negative = where.labels == 1, where.labels == 0
    of_positive, of_negative = weights[:, positive], weights[:, negative]
    pairs = of_positive.sum(axis=1) * of_negative.sum(axis=1)
    areas = np.empty((len(weights), len(scores)))
    for row, of_row in enumerate(scores):
        high, low = of_row[positive][:, None], of_row[negative]
        beaten = np.where(high == low, 0.5, high > low)
        areas[:, row] = ((of_positive @ beaten) * of_negative).sum(axis=1) / pairs
    return areas


def _moved(one: SetScores, table: Floats, where: Layout, noise: _Noise) -> tuple[Floats, Floats]:
    """What noise draws add to AUROCs, ``[draws, rows]``: normal, and with the tails of Student's t."""
    moves = area_moves(validated_draws([one.by_seed.get(name) for name in one.scores], list(table)), where)
    if not moves.moves.size:
        return np.zeros((1, len(table))), np.zeros((1, len(table)))
    if moves.moves.shape[1] > len(one.seeds):
        raise ValueError("by_seed has more columns than seeds: name the seed of each")
    part, jackknife = moves.of_rows(), np.square(moves.moves).sum(axis=1)
    kept = np.sqrt(part.variance / np.where(jackknife > 0, jackknife, 1))
    columns = [noise.normal[one.world, seed] for seed in one.seeds[: moves.moves.shape[1]]]
    normal = np.stack(columns, axis=1) @ (kept[:, None] * moves.moves).T
    stretch = {freedom: _stretch(freedom, noise.tails[one.world]) for freedom in set(part.freedom.tolist())}
    return normal, normal * np.stack([stretch[freedom] for freedom in part.freedom.tolist()], axis=1)


def _stretch(freedom: float, tails: Floats) -> Floats:
    """What makes Student's t of normal numbers, ``[draws]``, from uniform ones; one degree of freedom at least."""
    n = max(freedom, 1.0)
    factors: Floats = np.sqrt(n / special.chdtri(n, tails))
    return factors
