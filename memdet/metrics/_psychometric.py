"""What a detector sees as memorization grows: AUROC as a rising function of the measured extraction rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memdet.metrics._auroc import Floats, Ints, validated, validated_clusters
from memdet.metrics._bootstrap import DRAWS, LEVEL, Interval, check, resample
from memdet.metrics._draws import area_moves, validated_draws, without_each
from memdet.metrics._placements import Layout, effective_number, layout, positive_placements

TARGET = 0.75  # of the AUROC, which is the share of pairs that are put right: half way from chance to all of them
_SLACK = 1e-12  # so that a pooled mean that is the target but for rounding reaches it


@dataclass(frozen=True)
class PsychometricCurve:
    """AUROC against the measured extraction rate of the positives.

    Attributes:
        rates: Extraction rates that were measured, ``[r]``, ascending in [0, 1].
        items: How many positives have each, ``[r]``.
        auroc: Of the positives of each rate against all negatives, made to rise, ``[r]`` in [0, 1].
        crossing: The rate at which the AUROC reaches the target, with its interval. ``-inf``: it is there at the
            lowest rate already; ``inf``: at the highest it is not there yet. So are the ends of the interval.
    """

    rates: Floats
    items: Ints
    auroc: Floats
    crossing: Interval


@dataclass(frozen=True)
class _ByRate:
    """Positives in the order of their rates.

    Attributes:
        rates: ``[r]``, ascending.
        order: Of the positives, ``[m]``.
        starts: Where each rate begins in that order, ``[r]``.
    """

    rates: Floats
    order: Ints
    starts: Ints


def psychometric_curve(  # items and draws as evaluate_scores has them, and what is the curve's own
    scores: ArrayLike,
    labels: ArrayLike,
    extraction: ArrayLike,
    clusters: ArrayLike,
    *,
    strata: ArrayLike | None = None,
    by_seed: ArrayLike | None = None,
    target: float = TARGET,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> PsychometricCurve:
    """AUROC as a rising function of the measured extraction rate, and the rate at which it reaches a target.

    The placement value of a positive is the share of negatives that score below it, ties counting half; the mean over
    positives is their AUROC. Placements are regressed on the extraction rate of their own item (Pepe and Cai,
    Biometrics 60, 2004), as a function that never falls (isotonic least squares). Between two rates it is a straight
    line, on which the crossing lies. Nothing was measured there, so the interval ends at measured rates: at the last
    one below the target of the lower percentile's resample, and at the first one that reaches it of the upper's.

    An end has clusters enough beyond it that the bounds of Clopper and Pearson, were all of them placed perfectly,
    would leave out the target .75: of positives 13 at rates from where the curve reaches it to the upper end, and 3
    from the lower end to where it reaches it; and 13 of negatives.

    Resampled are clusters, of the negatives and of the positives of each stratum. With ``by_seed`` a resample has other
    noise draws too: how leaving out each draw moves the placements (a jackknife) is added up with random signs and
    sizes, which have the spread of Student's t for the number of draws less 1. What a draw does to each cluster by
    itself is taken off, as in :func:`~memdet.metrics.evaluate_scores`.

    Args:
        scores, labels, clusters, by_seed, draws, seed, level: As for :func:`~memdet.metrics.evaluate_scores`.
        extraction: ``[n]``, measured extraction rate in [0, 1]; that of negatives is not looked at.
        strata: ``[n]``, groups of fixed size in which the positives were drawn, such as doses; one if None.
        target: AUROC in (.5, 1).

    Returns:
        The curve; without points, and with a crossing that is NaN, where a label is missing.

    Raises:
        ValueError: As for :func:`~memdet.metrics.evaluate_scores`, a rate of a positive that is no number in [0, 1],
            strata of another shape, or a target out of range.

    Example:
        >>> scores, rates = [0, 1, 2, 3, 0.5, 2.5, 2.5, 9], [0, 0, 0, 0, 0.0, 0.5, 0.5, 1.0]
        >>> curve = psychometric_curve(scores, [0, 0, 0, 0, 1, 1, 1, 1], rates, list("abcdefgh"))
        >>> curve.rates.tolist(), curve.items.tolist(), curve.auroc.tolist(), curve.crossing.value
        ([0.0, 0.5, 1.0], [1, 2, 1], [0.25, 0.75, 1.0], 0.5)
    """
    s, y = validated(scores, labels)
    names = validated_clusters(clusters, y.shape)
    check(draws, level)
    if not 0.5 < target < 1:
        raise ValueError(f"target is an AUROC in (0.5, 1), got {target}")
    rates, groups = _validated_rates(extraction, y), _groups(strata, y)
    (by_draw,) = validated_draws([by_seed], [s])
    if not 0 < y.sum() < len(y):
        nothing = np.empty(0)
        return PsychometricCurve(nothing, np.empty(0, np.int64), nothing, Interval(*3 * (float("nan"),)))
    found = _by_rate(rates)
    curve = _curve(_placed(s, y, np.ones((1, len(y))))[0], found)
    where = layout(y, names)
    moved = _moved(by_draw, where)
    rng, ends = np.random.default_rng([seed, 1]), []  # another stream than that of the items
    for weights in resample(y, names, draws, seed, groups=groups):
        placed = _placed(s, y, weights) + _students(rng, len(weights), len(moved)) @ moved
        ends.append(_ends(placed, weights[:, y == 1], found, target))
    last, first = np.concatenate(ends, axis=1)
    # Order statistics, since nothing lies between a rate and none.
    low = float(np.quantile(last, (1 - level) / 2, method="lower"))
    high = float(np.quantile(first, (1 + level) / 2, method="higher"))
    estimate = value, last_below, first_above = _crossing(found.rates, curve, target)
    few = _few(found, where, estimate, target, level)
    crossing = Interval(value, min(low, last_below, few.low), max(high, first_above, few.high))
    return PsychometricCurve(found.rates, np.diff(np.append(found.starts, y.sum())), curve, crossing)


def _validated_rates(extraction: ArrayLike, labels: Ints) -> Floats:
    """Rates of the positives, ``[m]``."""
    given = np.asarray(extraction, dtype=np.float64)
    if given.shape != labels.shape:
        raise ValueError(f"extraction needs shape {labels.shape}, got {given.shape}")
    rates: Floats = given[labels == 1]
    if not ((rates >= 0) & (rates <= 1)).all():  # nor is NaN
        raise ValueError("the extraction of a positive is a rate in [0, 1], and that of each is known")
    return rates


def _groups(strata: ArrayLike | None, labels: Ints) -> Ints:
    """Numbers of what is drawn by itself: 0 the negatives, then the strata of the positives."""
    if strata is None:
        return labels
    names = np.asarray(strata)
    if names.shape != labels.shape:
        raise ValueError(f"strata need shape {labels.shape}, got {names.shape}")
    groups = np.zeros(len(labels), dtype=np.int64)
    groups[labels == 1] = 1 + np.unique(names[labels == 1].astype(str), return_inverse=True)[1]
    return groups


def _by_rate(rates: Floats) -> _ByRate:
    order = np.argsort(rates, kind="stable")
    distinct, starts = np.unique(rates[order], return_index=True)
    return _ByRate(distinct, order, starts)


def _placed(scores: Floats, labels: Ints, weights: Floats) -> Floats:
    """Placements of the positives among negatives that count as often as their weights say, ``[draws, m]``."""
    negative = scores[labels == 0]
    order = np.argsort(negative, kind="stable")
    below = np.zeros((len(weights), len(negative) + 1))
    np.cumsum(weights[:, labels == 0][:, order], axis=1, out=below[:, 1:])
    low, high = (np.searchsorted(negative[order], scores[labels == 1], side) for side in ("left", "right"))
    placed: Floats = (below[:, low] + below[:, high]) / (2 * below[:, -1:])
    return placed


def _curve(placed: Floats, found: _ByRate) -> Floats:
    """The rising curve at each rate, of placements ``[m]``."""
    from scipy.optimize import isotonic_regression  # which takes longer to import than a table to print

    counts = np.diff(np.append(found.starts, len(placed)))
    means = np.add.reduceat(placed[found.order], found.starts) / counts
    curve: Floats = isotonic_regression(means, weights=counts).x
    return curve


def _ends(placed: Floats, weights: Floats, found: _ByRate, target: float) -> tuple[Floats, Floats]:
    """Last rate below the target and first that reaches it, ``[rows]``, of curves that are not made for it.

    A rising curve reaches the target at a rate where sums of weighted placements less the target, taken from the lowest
    rate, are nowhere lower from there on than at some rate before (the switching relation of Groeneboom, 1985).

    Args:
        placed, weights: ``[rows, m]``, of the positives.
        found: Their rates, of which those that were not drawn are no ends.
        target: Of the curve.

    Returns:
        ``-inf`` twice where all rates reach it, ``inf`` twice where none does.
    """
    weights, excess = weights[:, found.order], (weights * (placed - target))[:, found.order]
    drawn = np.add.reduceat(weights, found.starts, axis=1) > 0
    sums = np.zeros((len(placed), len(found.rates) + 1))
    np.cumsum(np.add.reduceat(excess, found.starts, axis=1), axis=1, out=sums[:, 1:])
    before = np.minimum.accumulate(sums[:, :-1], axis=1)
    after = np.minimum.accumulate(sums[:, :0:-1], axis=1)[:, ::-1]
    reached = after >= before - _SLACK * len(found.order)
    last = np.where(drawn & ~reached, found.rates, -np.inf).max(axis=1)
    first = np.where(drawn & reached, found.rates, np.inf).min(axis=1)
    return np.where(np.isinf(first), np.inf, last), np.where(np.isinf(last), -np.inf, first)


def _crossing(rates: Floats, curve: Floats, target: float) -> tuple[float, float, float]:
    """Where a rising curve reaches the target: between two rates on a line, and these two."""
    reached = curve >= target - _SLACK
    if reached.all() or not reached.any():
        end = float("-inf" if reached.all() else "inf")
        return end, end, end
    first = int(reached.argmax())
    last = first - 1
    share = min(1.0, (target - curve[last]) / (curve[first] - curve[last]))
    value = rates[last] + share * (rates[first] - rates[last])
    return float(value), float(rates[last]), float(rates[first])


def _few(found: _ByRate, where: Layout, estimate: tuple[float, float, float], target: float, level: float) -> Interval:
    """Ends within which no interval may lie, since fewer clusters than it takes tell of what is beyond.

    That the curve is above the target at a rate is told by the items of the rates up to it at which it is above, and
    that it is below by those from it on at which it is below: at best all placed above all negatives, or below them.
    The bounds of Clopper and Pearson for as many trials must then leave out the target.

    Args:
        found: The positives.
        where: The items.
        estimate: From :func:`_crossing`.
        target, level: Of the curve.
    """
    value, last_below, first_above = estimate
    tail, family = np.log((1 - level) / 2), where.family[where.labels == 1][found.order]
    above, below = tail / np.log(target), tail / np.log(1 - target)
    if where.effective[0] < above:
        return Interval(value, float("-inf"), float("inf"))
    starts, ends = found.starts, np.append(found.starts[1:], len(family))
    first, last = (int(rows.sum()) for rows in (found.rates <= last_below, found.rates < first_above))
    up_to = [effective_number(family[starts[first] : end]) for end in ends[first:]] if first < len(ends) else []
    from_on = [effective_number(family[start : ends[last - 1]]) for start in starts[:last]]
    told = [float(rate) for rate, n in zip(found.rates[first:], up_to, strict=True) if n >= above]
    known = [float(rate) for rate, n in zip(found.rates[:last], from_on, strict=True) if n >= below]
    # Enough at the very first rate tell that the curve is above it everywhere, and at the last that it is nowhere.
    high = float("-inf") if told and told[0] == found.rates[0] else min(told, default=float("inf"))
    low = float("inf") if known and known[-1] == found.rates[-1] else max(known, default=float("-inf"))
    return Interval(value, low, high)


def _moved(by_draw: Floats | None, where: Layout) -> Floats:
    """How each draw moves the placements of the positives, ``[draws, m]``; no rows where none is known to.

    The squares of a mean's moves add up to the draws' part of its variance.
    """
    if by_draw is None:
        return np.zeros((0, int(where.labels.sum())))
    own = by_draw[:, ~np.isnan(by_draw).all(axis=0)]
    seeds = own.shape[1]
    moves = area_moves([own], where)
    jackknife = float(np.square(moves.moves).sum())
    share = float(moves.of_rows().variance[0]) / jackknife if jackknife > 0 else 0.0  # the rest is the interaction
    placed = positive_placements(without_each(own), where.labels)
    moved: Floats = np.sqrt(share * (seeds - 1) / seeds) * (placed - placed.mean(axis=0))
    return moved


def _students(rng: np.random.Generator, rows: int, seeds: int) -> Floats:
    """Numbers ``[rows, seeds]`` of which a weighted sum has Student's t with ``seeds - 1`` degrees of freedom."""
    if seeds < 2:
        return np.zeros((rows, seeds))
    spread = np.sqrt(rng.chisquare(seeds - 1, size=(rows, 1)) / (seeds - 1))
    students: Floats = rng.standard_normal((rows, seeds)) / spread
    return students
