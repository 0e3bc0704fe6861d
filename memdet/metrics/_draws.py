"""What noise draws add to a variance: a draw moves all items together, so that items do not tell of it.

Items and draws are two kinds of independent units, crossed: a score is of an item and a draw, and the AUROC is that of
means over draws. Other items would give another AUROC, and so would other draws. The items' part, at fixed draws, is
that of ``_placements``. The draws' part is a jackknife: each draw is left out once (Quenouille 1949; Tukey 1958). What
a draw does to single items by chance (the interaction) is in both, and is taken off the draws' part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from memdet.metrics._auroc import Floats, Ints, flagged_at
from memdet.metrics._distributions import student_isf, student_sf
from memdet.metrics._placements import NO_VARIANCE, Contributions, Layout, by_cluster, contributions, variance

_STEPS = 16  # in which a p-value is found to five digits
_SMALLEST = 1e-290  # of the p-values that are looked for


@dataclass(frozen=True)
class DrawPart:
    """What draws add to variances.

    Attributes:
        variance: ``[rows]``, 0 where no draw matters or none is known but one.
        freedom: Its degrees of freedom, ``[rows]``: draws less 1; 0 where no draw matters.
    """

    variance: Floats
    freedom: Floats

    @classmethod
    def nothing(cls, rows: int) -> DrawPart:
        """No draw is known."""
        return cls(np.zeros(rows), np.zeros(rows))

    def row(self, index: int) -> DrawPart:
        """One row, ``[1]``."""
        return DrawPart(self.variance[index : index + 1], self.freedom[index : index + 1])


@dataclass(frozen=True)
class DrawMoves:
    """How draws move a number that each of ``k`` detectors has, such as its AUROC.

    Attributes:
        moves: ``[k, seeds]``, of which the squares of a row add up to the jackknife's variance; 0 at seeds at which a
            detector was not scored, and for a detector that no draw moves.
        mixed: ``[k, k]``, the interaction's covariances, which the jackknife's hold too.
        freedom: ``[k]``, the draws of a detector less 1; 0 where no draw moves it.
        logits: ``[k, seeds]``, moves of the logit of an AUROC. It moves by as much wherever the AUROC is, which near 0
            or 1 its own moves do not.
    """

    moves: Floats
    mixed: Floats
    freedom: Floats
    logits: Floats

    def of_rows(self) -> DrawPart:
        """The draws' part of each detector's own number."""
        return _part(np.square(self.moves).sum(axis=1), np.diagonal(self.mixed), self.freedom)

    def of_logits(self) -> DrawPart:
        """The draws' part of the logit of each detector's AUROC, of which the interaction has the same share."""
        part, jackknife = self.of_rows(), np.square(self.moves).sum(axis=1)
        share = part.variance / np.where(jackknife > 0, jackknife, 1)
        return DrawPart(share * np.square(self.logits).sum(axis=1), self.freedom)

    def of_differences(self, first: Ints, second: Ints) -> DrawPart:
        """The draws' part of the first's number minus the second's, at the same draws where both have them."""
        jackknife = np.square(self.moves[first] - self.moves[second]).sum(axis=1)
        mixed = self.mixed[first, first] + self.mixed[second, second] - 2 * self.mixed[first, second]
        few, many = np.sort([self.freedom[first], self.freedom[second]], axis=0)
        return _part(jackknife, mixed, np.where(few > 0, few, many))


def _part(jackknife: Floats, mixed: Floats, freedom: Floats) -> DrawPart:
    return DrawPart(np.maximum(jackknife - np.maximum(mixed, 0), 0), freedom)


def validated_draws(by_seed: Sequence[ArrayLike | None] | None, scores: Sequence[Floats]) -> list[Floats | None]:
    """Scores of each noise seed, ``[n, seeds]`` a detector in columns that all share; None where no draw is known.

    Args:
        by_seed: One a detector. A column of NaN is a seed at which the detector was not scored. With fewer than two
            seeds nothing can be told, and the detector's is None.
        scores: ``[n]`` a detector, the means over seeds.

    Raises:
        ValueError: Another number of detectors, shapes that do not fit, a score that is not finite in a column that
            is not all NaN, or scores that are not the mean over seeds.
    """
    if by_seed is None:
        return [None] * len(scores)
    if len(by_seed) != len(scores):
        raise ValueError(f"by_seed has {len(by_seed)} detectors, scores {len(scores)}")
    found: list[Floats | None] = []
    for given, means in zip(by_seed, scores, strict=True):
        if given is None:
            found.append(None)
            continue
        table = np.asarray(given, dtype=np.float64)
        if table.ndim != 2 or len(table) != len(means):
            raise ValueError(f"by_seed needs shape ({len(means)}, seeds), got {table.shape}")
        scored = ~np.isnan(table).all(axis=0)
        if not np.isfinite(table[:, scored]).all():
            raise ValueError("by_seed has scores that are not finite; a seed that was not scored is NaN for all items")
        own = table[:, scored]
        if own.size and not np.allclose((own / own.shape[1]).sum(axis=1), means, rtol=1e-6, atol=1e-9 * _size(own)):
            raise ValueError("scores are not the mean over the seeds of by_seed")
        found.append(table if scored.sum() > 1 else None)
    if len({table.shape[1] for table in found if table is not None}) > 1:
        raise ValueError("by_seed has other columns for other detectors: a seed that was not scored is a column of NaN")
    return found


def _size(scores: Floats) -> float:
    return float(np.abs(scores).max())


def without_each(table: Floats) -> Floats:
    """Scores in the order of their means over all seeds but one, ``[seeds, n]``, from ``[n, seeds]``."""
    if _size(table) > np.finfo(np.float64).max / (2 * table.shape[1]):
        table = table / 2.0 ** table.shape[1]  # exact, so that what ties stays tied
    rest: Floats = (table.sum(axis=1, keepdims=True) - table).T
    return rest


def area_moves(by_seed: Sequence[Floats | None], where: Layout) -> DrawMoves:
    """How draws move the AUROCs of means.

    Args:
        by_seed: From :func:`validated_draws`.
        where: The items; both labels are present.
    """
    scored = [np.empty(0, dtype=np.int64) if table is None else _scored(table) for table in by_seed]
    found = [
        None if table is None else contributions(without_each(table[:, own]), where)
        for table, own in zip(by_seed, scored, strict=True)
    ]
    return moves_of(found, scored, where)


def moves_of(found: Sequence[Contributions | None], scored: Sequence[Ints], where: Layout) -> DrawMoves:
    """How draws move AUROCs, or means of them, from their values without each draw.

    Args:
        found: A row a draw that is left out; None of a detector that no draw moves.
        scored: Which seeds these draws are.
        where: The items.
    """
    k, seeds = len(found), max((int(own.max()) + 1 for own in scored if len(own)), default=0)
    moves, freedom = np.zeros((k, seeds)), np.zeros(k)
    if not seeds:
        return DrawMoves(moves, np.zeros((k, k)), freedom, moves)
    logits, (positive, negative) = np.zeros_like(moves), np.zeros((2, k, seeds, where.clusters[0]))
    least = 1 / (4 * where.effective[0] * where.effective[1])  # of an AUROC, in half a pair of independent clusters
    for row, (of_row, own) in enumerate(zip(found, scored, strict=True)):
        if of_row is None:
            continue
        weight, freedom[row] = np.sqrt((len(own) - 1) / len(own)), len(own) - 1
        moves[row, own] = weight * _centred(of_row.areas)
        logits[row, own] = weight * _centred(special.logit(np.clip(of_row.areas, least, 1 - least)))
        positive[row, own] = weight * _centred(of_row.positive)
        negative[row, own] = weight * _centred(of_row.negative)
    flat = Contributions(moves, positive.reshape(k, -1), negative.reshape(k, -1))
    return DrawMoves(moves, _covariances(flat, where), freedom, logits)


def _scored(table: Floats) -> Ints:
    """Columns that are not NaN."""
    return np.flatnonzero(~np.isnan(table[0]))


def rate_moves(by_seed: Sequence[Floats | None], where: Layout, fpr: float) -> DrawMoves:
    """How draws move the true positive rates of means at a false positive rate at which they are resolvable.

    The interaction is that of the positives with the thresholds. What draws do to single negatives, on a few of which a
    threshold hangs, stays in the draws' part, which is the larger for it.

    Args:
        by_seed: From :func:`validated_draws`.
        where: The items; both labels are present.
        fpr: In (0, 1).
    """
    k, seeds = len(by_seed), max((table.shape[1] for table in by_seed if table is not None), default=0)
    moves, freedom, positive = np.zeros((k, seeds)), np.zeros(k), np.zeros((k, seeds, where.clusters[0]))
    for row, table in enumerate(by_seed):
        if table is None:
            continue
        scored = _scored(table)
        flagged = flagged_at(without_each(table[:, scored]), where.labels, fpr)
        weight, freedom[row] = np.sqrt((len(scored) - 1) / len(scored)), len(scored) - 1
        rates = flagged.mean(axis=1)
        moves[row, scored] = weight * _centred(rates)
        positive[row, scored] = weight * _centred(
            np.stack([by_cluster(*pair, where) for pair in zip(flagged, rates, strict=True)])
        )
    flat = Contributions(
        moves, positive.reshape(k, seeds * where.clusters[0]), np.zeros((k, seeds * where.clusters[0]))
    )
    return DrawMoves(moves, _covariances(flat, where), freedom, np.zeros_like(moves))


def _centred(values: Floats) -> Floats:
    centred: Floats = values - values.mean(axis=0)
    return centred


def _covariances(found: Contributions, where: Layout) -> Floats:
    """Covariances ``[rows, rows]`` after Obuchowski, of which the diagonal is what ``variance`` gives."""
    if not where.testable:
        return np.zeros((len(found.areas), len(found.areas)))
    k, k0, k1 = where.clusters
    across = found.positive @ found.negative.T
    total: Floats = (
        k1 / (k1 - 1) * found.positive @ found.positive.T
        + k0 / (k0 - 1) * found.negative @ found.negative.T
        + k / (k - 1) * (across + across.T)
    )
    return total


def reach_of(level: float, spread: float | Floats, freedom: float | Floats, draws: DrawPart) -> Floats:
    """Half the width ``[rows]`` of intervals whose variance is that of items and that of draws.

    Each part has the quantile of Student's t that its own degrees of freedom ask for, and the squares add up. One t
    with Satterthwaite's degrees of freedom for the sum is too narrow with few draws: where they happen to agree, it
    takes the items' many degrees of freedom.

    Args:
        level: In (0, 1).
        spread, freedom: Variance and degrees of freedom of items, ``[rows]``.
        draws: The draws' part.
    """
    return _reach((1 - level) / 2, spread, freedom, draws)


def _reach(tail: float | Floats, spread: float | Floats, freedom: float | Floats, draws: DrawPart) -> Floats:
    of_items: Floats = np.atleast_1d(student_isf(tail, freedom) * np.sqrt(spread))
    if not draws.variance.any():
        return of_items
    of_draws = student_isf(tail, np.maximum(draws.freedom, 1)) * np.sqrt(draws.variance)
    return np.where(draws.variance > 0, np.hypot(of_items, of_draws), of_items)


def difference_bounds(found: Contributions, where: Layout, draws: DrawPart, level: float) -> tuple[Floats, Floats]:
    """Bounds ``[rows]`` of differences of AUROCs, in [-1, 1]; NaN where a label has a single cluster."""
    spread, freedom = variance(found, where)
    reach = reach_of(level, spread, freedom, draws)
    return np.maximum(found.areas - reach, -1), np.minimum(found.areas + reach, 1)


def p_of(gaps: Floats, spread: Floats, freedom: Floats, draws: DrawPart) -> Floats:
    """Two-sided p-values ``[rows]`` that are ``1 - level`` where :func:`reach_of` is as wide as the gap.

    Args:
        gaps: Numbers whose truth is 0 under the hypothesis.
        spread, freedom, draws: As for :func:`reach_of`.
    """
    size = np.abs(gaps)
    with np.errstate(invalid="ignore", divide="ignore"):
        p: Floats = 2 * student_sf(size / np.sqrt(spread), freedom)
    rows = np.flatnonzero((draws.variance > NO_VARIANCE) & np.isfinite(spread))
    if not len(rows):
        return p
    part = DrawPart(draws.variance[rows], np.maximum(draws.freedom[rows], 1))
    p[rows] = 2 * np.exp(_log_tail(size[rows], spread[rows], freedom[rows], part))
    return p


def _log_tail(size: Floats, spread: Floats, freedom: Floats, draws: DrawPart) -> Floats:
    """Logarithm of the tail at which the reach is the size, by false position between what either t alone would say."""
    ratio = size / np.sqrt(spread + draws.variance)
    ends = [np.log(np.maximum(student_sf(ratio, of_part), _SMALLEST)) for of_part in (freedom, draws.freedom)]
    low, high = np.minimum(*ends), np.maximum(*ends)

    def excess(tail: Floats) -> Floats:
        reach = np.maximum(_reach(np.exp(tail), spread, freedom, draws), _SMALLEST)
        gap: Floats = np.clip(np.log(reach / np.maximum(size, _SMALLEST)), -1e3, 1e3)  # nearly a straight line
        return gap

    at_low, at_high = excess(low), excess(high)
    for _ in range(_STEPS):
        with np.errstate(invalid="ignore", divide="ignore"):
            tail = np.where(at_low > at_high, (low * at_high - high * at_low) / (at_high - at_low), low)
        tail = np.clip(tail, low, high)
        found = excess(tail)
        above = found > 0
        # Where one end stays, it counts for half (Illinois), so that it moves too.
        low, high = np.where(above, tail, low), np.where(above, high, tail)
        at_low, at_high = np.where(above, found, at_low / 2), np.where(above, at_high / 2, found)
    return tail
