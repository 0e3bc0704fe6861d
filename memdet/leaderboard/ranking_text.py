"""The ranking over worlds, as a section of the leaderboard and as JSON."""

from __future__ import annotations

from typing import Any

from memdet.leaderboard.board import rounded
from memdet.leaderboard.cells import Cell
from memdet.leaderboard.ranking import CellFigures, Standing, WorldRanking
from memdet.tables.formats import markdown
from memdet.tables.numbers import UNDEFINED, bounded, counted, number, signed
from memdet.tables.table import Table, left, right

_TEXT = """\
## Ranking over worlds

Methods are ranked by their gain over the best control. The gain is averaged over the models of a world, then over the
worlds that ask a question, then over questions; every question counts the same
([rules](../docs/statistics.md#ranking-over-worlds)). {worlds}

- rank: among the {ranked} methods that have scores for every question of every world, controls (\\*) included. All
  intervals of ranks hold together with probability .95. The row of a method is that of its default options, or else of
  the variant that is first by alphabet; its other variants stand below it and have no rank
- gain: the averaged gain, with a 95 % interval for this detector by itself. Where a detector does not apply, its gain
  is 0, because the user is left with the control
- columns with the name of a question: the AUROC, averaged over the worlds of the question. °: the detector does not
  apply to all sets of the question; -: it applies to none
- worst cell: the question and the world with the lowest gain
- tau: the standard deviation of the true AUROC from world to world (DerSimonian and Laird), for the question where it
  is largest; -: no question in two worlds
"""


def ranking_markdown(ranking: WorldRanking) -> str:
    """The section: who is ranked where, and who is not and why.

    Args:
        ranking: From :func:`~memdet.leaderboard.ranking.world_ranking`.
    """
    ranked = [one for one in ranking.standings if one.rank is not None]
    questions = list(ranking.worlds)
    columns = (*left("detector"), *right("rank", "gain", *questions), *left("worst cell"), *right("tau"))
    table = Table(columns, [_line(one, ranking) for row in ranked for one in (row, *variants_of(row, ranking))])
    parts = [_TEXT.format(worlds=_worlds_sentence(ranking), ranked=len(ranked)), markdown.draw(table) + "\n"]
    sentences = (_unranked(ranking), _left_out(ranking), _saturated(ranking))
    return "\n".join([*parts, *(f"{sentence}\n" for sentence in sentences if sentence)])


def variants_of(row: Standing, ranking: WorldRanking) -> list[Standing]:
    """Other variants of the method that have every cell, the best first."""
    same = (one for one in ranking.standings if one.method == row.method and one.rank is None)
    known = [(one.gain.value, one) for one in same if one.gain is not None]
    return [one for _, one in sorted(known, key=lambda pair: (-pair[0], pair[1].detector))]


def ranking_json(ranking: WorldRanking) -> dict[str, list[dict[str, Any]]]:
    """``cells``, ``left_out``, ``saturated`` and ``detectors`` as what JSON can say, numbers rounded as in the rows.

    Args:
        ranking: From :func:`~memdet.leaderboard.ranking.world_ranking`.
    """
    detectors = [
        {
            "detector": one.detector,
            "method": one.method,
            "rank": one.rank and one.rank[0],
            "rank_low": one.rank and one.rank[1],
            "rank_high": one.rank and one.rank[2],
            "gain": one.gain and one.gain.value,
            "gain_low": one.gain and one.gain.low,
            "gain_high": one.gain and one.gain.high,
            "cells": [
                {"question": cell.question, "world": cell.world, "auroc": figures.auroc, "gain": figures.gain}
                for cell, figures in zip(ranking.cells, one.cells, strict=True)
            ],
            "tau": one.tau,
        }
        for one in ranking.standings
    ]
    cells = [
        {"question": cell.question, "world": cell.world, "sample_sets": [list(key) for key in cell.sets]}
        for cell in ranking.cells
    ]
    outside = {
        what: [{"sample_set": name, "sample_set_version": version} for name, version in keys]
        for what, keys in (("left_out", ranking.left_out), ("saturated", ranking.saturated))
    }
    return {"cells": cells, **outside, "detectors": [rounded(one) for one in detectors]}


def _line(one: Standing, ranking: WorldRanking) -> list[str]:
    assert one.gain is not None
    known = list(zip(one.cells, ranking.cells, strict=True))
    worst, where = min(known, key=lambda pair: pair[0].gain or 0.0)
    return [
        one.detector + (r" \*" if one.control else ""),
        "" if one.rank is None else "{} [{}, {}]".format(*one.rank),
        bounded(signed(one.gain.value), one.gain.low, one.gain.high, signed),
        *(_of_question(question, known) for question in ranking.worlds),
        f"{where.question}, {where.world}: {signed(worst.gain or 0.0)}",
        _tau(one),
    ]


def _of_question(question: str, known: list[tuple[CellFigures, Cell]]) -> str:
    of_one = [(figures, cell) for figures, cell in known if cell.question == question]
    aurocs = [figures.auroc for figures, _ in of_one if figures.auroc is not None]
    if not aurocs:
        return UNDEFINED
    everywhere = all(figures.applies == len(cell.sets) for figures, cell in of_one)
    return number(sum(aurocs) / len(aurocs)) + ("" if everywhere else "°")


def _tau(one: Standing) -> str:
    if not one.tau:
        return UNDEFINED
    question = max(one.tau, key=lambda name: one.tau[name])
    return f"{number(one.tau[question])} ({question})"


def _worlds_sentence(ranking: WorldRanking) -> str:
    asked = (f"{question} {len(worlds)} ({', '.join(worlds)})" for question, worlds in ranking.worlds.items())
    return f"Worlds behind each question: {', '.join(asked)}."


def _unranked(ranking: WorldRanking) -> str:
    known = {one.detector: sum(of_cell.gain is not None for of_cell in one.cells) for one in ranking.standings}
    names = [f"`{one.detector}` {known[one.detector]}" for one in ranking.standings if one.gain is None]
    if not names:
        return ""
    cells = counted(len(ranking.cells), "cell")
    return (
        f"Not ranked, since scores are missing or average other noise seeds; of {cells} they have: {', '.join(names)}."
    )


def _left_out(ranking: WorldRanking) -> str:
    names = ", ".join(f"{name} v{version}" for name, version in ranking.left_out)
    return f"Sets that take no part so far, with too few detectors or clusters: {names}." if names else ""


def _saturated(ranking: WorldRanking) -> str:
    names = ", ".join(f"{name} v{version}" for name, version in ranking.saturated)
    return f"Saturated sets, which are outside the mean: {names}." if names else ""
