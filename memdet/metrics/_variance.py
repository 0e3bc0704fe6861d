"""Where the variance of an AUROC comes from: items, noise seeds, the random vectors of an estimator."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memdet.metrics._auroc import Floats, Ints, auroc, validated, validated_clusters
from memdet.metrics._draws import area_moves
from memdet.metrics._placements import NO_VARIANCE, contributions, layout, variance


@dataclass(frozen=True)
class VarianceSplit:
    """Shares of the variance of the AUROC of mean scores, adding up to 1; NaN where they cannot be told.

    Attributes:
        items: What other items (families) would change, however many seeds were taken.
        seeds: What other noise seeds would change, the part that differs from item to item included: what infinitely
            many seeds would remove. It includes the probes where these are not known by themselves.
        probes: What other random vectors of the detector's estimator would change, at the same noise.
        total: The variance itself, for other items and other seeds.
    """

    items: float
    seeds: float
    probes: float
    total: float


_UNKNOWN = VarianceSplit(*4 * [float("nan")])


def variance_split(  # one formula, read from top to bottom
    scores: ArrayLike, labels: ArrayLike, clusters: ArrayLike, *, probe_draws: ArrayLike | None = None
) -> VarianceSplit:
    """Split the variance of the AUROC of scores that are averaged over seeds.

    Items and seeds are crossed. Leaving out one seed at a time gives pseudo-values of the AUROC, and of every
    cluster's contribution to it (Quenouille 1949; Tukey 1958). With R seeds, the variance of the first over R is the
    seeds' part of the variance, unbiased to first order. The variance of Obuchowski (1997), at fixed seeds, holds that
    of items and the interaction of both over R; the latter, from the residuals of the contributions, is taken off. A
    negative rest is 0.

    Random vectors of an estimator are drawn from the seed as the noise is, so seeds vary both. They are told apart
    where scores were computed again with other vectors at the same noise: the AUROC is computed with each of the other
    draws in place of one seed's scores; the variance over draws, summed over the seeds, is the probes' part, and is
    taken off that of the seeds.

    Few seeds tell little: with two, the seeds' part is a variance of two numbers.

    Args:
        scores: ``[n, seeds]``, finite.
        labels, clusters: ``[n]`` each.
        probe_draws: ``[n, seeds, draws]``: scores with other random vectors, at the noise of the same seeds.

    Returns:
        NaN for all with one seed, a missing label, a label of a single cluster, or where nothing varies; NaN for
        ``probes`` without ``probe_draws``.

    Raises:
        ValueError: Shapes do not fit, or as for :func:`~memdet.metrics.evaluate_scores`.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or not table.shape[1]:
        raise ValueError(f"scores need shape (n, seeds), got {table.shape}")
    for column in table.T:
        _, y = validated(column, labels)
    names = validated_clusters(clusters, y.shape)
    draws = None if probe_draws is None else np.asarray(probe_draws, dtype=np.float64)
    if draws is not None and (draws.ndim != 3 or draws.shape[:2] != table.shape or not draws.shape[2]):
        raise ValueError(f"probe_draws need shape {(*table.shape, 'draws')}, got {draws.shape}")
    seeds = table.shape[1]
    where = layout(y, names)
    if seeds < 2 or not where.testable:
        return _UNKNOWN
    moves = area_moves([table], where)
    of_seeds, interaction = float(np.square(moves.moves).sum()), float(moves.mixed[0, 0])
    spread, _ = variance(contributions(table.mean(axis=1)[None], where), where)
    of_items = max(0.0, float(spread[0]) - interaction)

    total = of_items + of_seeds
    if total <= NO_VARIANCE:
        return _UNKNOWN
    of_probes = float("nan")
    if draws is not None:
        of_probes = min(of_seeds, _of_probes(table, draws, y))
        of_seeds -= of_probes
    return VarianceSplit(of_items / total, of_seeds / total, of_probes / total, total)


def _of_probes(table: Floats, draws: Floats, labels: Ints) -> float:
    total = 0.0
    for seed in range(table.shape[1]):
        others = np.delete(table, seed, axis=1).sum(axis=1)
        scores = [table[:, seed], *draws[:, seed].T]
        total += float(np.var([auroc(others + own, labels) for own in scores], ddof=1))
    return total
