"""AUROC of fewer noise draws than were made: what a method gives that takes n of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from memdet.metrics._auroc import Floats, validated, validated_clusters
from memdet.metrics._bootstrap import LEVEL, Interval, check, interval_of_area
from memdet.metrics._draws import DrawMoves, DrawPart, moves_of
from memdet.metrics._placements import Contributions, contributions, layout

Window = tuple[int, ...]


@dataclass(frozen=True)
class FewerDraws:
    """AUROC of scores that are averaged over ``n`` noise draws.

    Attributes:
        n: Draws a score is averaged over.
        auroc: Mean over choices of ``n`` of the draws, with an interval of items and draws; of items alone where one
            draw was made.
        sd: Standard deviation of the AUROC of ``n`` draws, over draws of these items; NaN where one draw was made.
    """

    n: int
    auroc: Interval
    sd: float


def auroc_of_draws(
    by_seed: ArrayLike, labels: ArrayLike, clusters: ArrayLike, *, n: int = 1, level: float = LEVEL
) -> FewerDraws:
    """AUROC of the mean score over ``n`` draws, where more were made: its mean over draws, and how far it spreads.

    The AUROC is averaged over the choices of ``n`` neighbours among the draws in their order, the last one's neighbour
    being the first: each draw is in as many. With ``n = 1`` these are the draws one by one, with all draws it is the
    AUROC of the table. The interval holds other items and other draws (:func:`~memdet.metrics.evaluate_scores`): each
    draw is left out once. The standard deviation of overlapping choices is set right for what they share.

    Args:
        by_seed: ``[items, draws]``; a column of NaN is a draw that was not scored.
        labels, clusters: ``[items]`` each.
        n: From 1 to the number of draws.
        level: Of the interval.

    Raises:
        ValueError: ``n`` out of range, shapes that do not fit, or as for :func:`~memdet.metrics.evaluate_scores`.

    Example:
        >>> draws = [[4.0, 9.0], [2.0, 9.0], [3.0, 0.0], [1.0, 0.0]]
        >>> single = auroc_of_draws(draws, [1, 1, 0, 0], ["a", "b", "c", "d"])
        >>> single.auroc.value, round(single.sd, 3)
        (0.875, 0.177)
        >>> auroc_of_draws(draws, [1, 1, 0, 0], ["a", "b", "c", "d"], n=2).auroc.value
        1.0
    """
    table = np.asarray(by_seed, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"by_seed needs shape (items, draws), got {table.shape}")
    table = table[:, ~np.isnan(table).all(axis=0)]
    made = table.shape[1]
    if not 1 <= n <= made:
        raise ValueError(f"n is from 1 to the number of draws, {made}, got {n}")
    for column in table.T:
        _, y = validated(column, labels)
    where = layout(y, validated_clusters(clusters, y.shape))
    check(1, level)
    if 0 in where.effective:
        return FewerDraws(n, Interval(*3 * (float("nan"),)), float("nan"))
    every = list(range(made))
    without = [_windows([*every[:draw], *every[draw + 1 :]], min(n, made - 1)) for draw in every if made > 1]
    place = {window: row for row, window in enumerate({w: None for ws in [_windows(every, n), *without] for w in ws})}
    found = contributions(_means(table, list(place)), where)

    chosen = [place[window] for window in _windows(every, n)]
    whole = _mean_of(found, [chosen])
    if made == 1:
        return FewerDraws(n, interval_of_area(whole, DrawPart.nothing(1), where, level)[0], float("nan"))
    left_out = _mean_of(found, [[place[window] for window in windows] for windows in without])
    moves = moves_of([left_out], [np.arange(made)], where)
    return FewerDraws(
        n, interval_of_area(whole, moves.of_logits(), where, level)[0], _spread(found.areas[chosen], n, made, moves)
    )


def _windows(draws: list[int], n: int) -> list[Window]:
    """Each draw with its n - 1 next neighbours in a circle, ascending; all of them once where there are just n."""
    if n == len(draws):
        return [tuple(draws)]
    return [tuple(sorted((draws + draws)[start : start + n])) for start in range(len(draws))]


def _means(table: Floats, windows: list[Window]) -> Floats:
    """Scores in the order of their means, ``[windows, items]``."""
    sums: Floats = np.stack([table[:, list(window)].sum(axis=1) / len(window) for window in windows])
    return sums


def _mean_of(found: Contributions, choices: list[list[int]]) -> Contributions:
    """The mean over some rows, a row a choice: contributions to a mean of AUROCs are the means of theirs."""
    parts = (found.areas, found.positive, found.negative)
    return Contributions(*(np.stack([part[rows].mean(axis=0) for rows in choices]) for part in parts))


def _spread(areas: Floats, n: int, made: int, moves: DrawMoves) -> float:
    if len(areas) == 1:  # all draws at once: as far as leaving one out tells
        return float(np.sqrt(np.square(moves.moves).sum()))
    # Two choices of n neighbours share (n - 1) / (made - 1) of their draws on the average.
    return float(areas.std(ddof=1) * np.sqrt((made - 1) / (made - n)))
