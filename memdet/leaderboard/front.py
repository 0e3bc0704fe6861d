"""The front page of the leaderboard: one row a method, where each fails, and which to begin with.

The rules are in ``docs/statistics.md``, "The front page". Nothing is ranked here: ranks, gains and who is tied are
those of :func:`~memdet.leaderboard.ranking.world_ranking`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from memdet.detectors.base import is_control
from memdet.leaderboard.cells import Cell
from memdet.leaderboard.ranking import Standing, WorldRanking, row_of_methods
from memdet.results.run import SetKey
from memdet.tables.rows import Row

BUDGET = 10
SOLVED = 0.9
_ORACLE = "training-data"
Kind = Literal["method", "oracle", "control"]
Rows = Mapping[tuple[SetKey, str], Row]
"""Rows of the board by sample set and label."""


@dataclass(frozen=True)
class Failure:
    """A sample set on which a detector is of no use.

    Attributes:
        sample_set: Its name.
        why: In a few words, to be followed by "on" and the set.
        auroc: What it has there; None where it has no scores.
    """

    sample_set: str
    why: str
    auroc: float | None = None


@dataclass(frozen=True)
class MethodRow:
    """A method on the front page.

    Attributes:
        standing: Of the variant that stands for it.
        kind: Oracles and controls are on no card.
        gains: By question, the mean over worlds; None where scores are missing.
        aurocs: By question, the mean over the worlds to which it applies.
        evaluations: Whole network evaluations of an item over all noise seeds, where they are most.
        one_forward: Whether a noise seed costs one forward and no Jacobian product on every set.
        failures: In the order of the ranking's sets.
        variants: Labels of its other variants, by name.
    """

    standing: Standing
    kind: Kind
    gains: dict[str, float | None]
    aurocs: dict[str, float | None]
    evaluations: int
    one_forward: bool
    failures: list[Failure]
    variants: list[str]

    @property
    def label(self) -> str:
        """Of the variant that stands for it."""
        return self.standing.detector

    @property
    def worst(self) -> str | None:
        """The question with the lowest gain; None where a cell is missing."""
        known = {question: gain for question, gain in self.gains.items() if gain is not None}
        return min(known, key=lambda question: known[question]) if len(known) == len(self.gains) else None


@dataclass(frozen=True)
class Unsolved:
    """The question in which the best detector is worst.

    Attributes:
        question: Its name.
        label: The detector with the highest mean AUROC there.
        auroc: That mean.
    """

    question: str
    label: str
    auroc: float

    @property
    def solved(self) -> bool:
        """Whether even this one is answered well."""
        return self.auroc >= SOLVED


@dataclass(frozen=True)
class Front:
    """What the leaderboard opens with.

    Attributes:
        cells: The ranking's.
        rows: The best rank first; methods without a rank follow by name.
        wins: ``[rows][rows]``, on how many of the ranking's sets the first is shown to be above the second.
        both: ``[rows][rows]``, on how many of these sets both have scores that are ranked.
        unsolved: None where no detector has scores for all of a question.
    """

    cells: list[Cell]
    rows: list[MethodRow]
    wins: list[list[int]]
    both: list[list[int]]
    unsolved: Unsolved | None

    @property
    def candidates(self) -> list[MethodRow]:
        """Methods that a card may name, the best rank first."""
        return [row for row in self.rows if row.kind == "method" and row.standing.rank is not None]

    @property
    def best(self) -> MethodRow | None:
        """Whatever it costs."""
        return next(iter(self.candidates), None)

    @property
    def best_of_one_forward(self) -> MethodRow | None:
        """Of those that make one forward a noise seed."""
        return next((row for row in self.candidates if row.one_forward), None)

    def best_within(self, budget: float) -> MethodRow | None:
        """Of those that cost at most so many whole evaluations.

        Args:
            budget: Network evaluations an item over all noise seeds.
        """
        return next((row for row in self.candidates if row.evaluations <= budget), None)


def front_of(ranking: WorldRanking, rows: Sequence[Row], apart: Mapping[SetKey, Apart] | None = None) -> Front:
    """Fold a ranking into one row a method.

    Args:
        ranking: Over worlds.
        rows: Of the board.
        apart: Of each set of the ranking, who is told apart from whom; where it is not given nobody is.
    """
    by_place = {((row["sample_set"], row["sample_set_version"]), row["detector"]): row for row in rows}
    standings = {one.detector: one for one in ranking.standings}
    ranked = [one.detector for one in ranking.standings if one.rank is not None]
    methods = {standings[label].method for label in ranked}
    others = row_of_methods(one.detector for one in ranking.standings if one.method not in methods)
    found = [_row(standings[label], ranking, by_place) for label in [*ranked, *sorted(others.values())]]
    wins, both = _wins([row.label for row in found], ranking, by_place, apart or {})
    return Front(ranking.cells, found, wins, both, unsolved(ranking.cells, by_place))


@dataclass(frozen=True)
class Apart:
    """Who is told apart on a sample set by AUROC.

    Attributes:
        labels: Of the rows.
        tied: A line a row, in it "1" for each row that is not told apart.
    """

    labels: Sequence[str]
    tied: Sequence[str]

    def above(self, one: str, other: str, rows: Mapping[str, Row]) -> bool:
        """Whether one is shown to have the higher AUROC."""
        if self.tied[self.labels.index(one)][self.labels.index(other)] == "1":
            return False
        return bool(rows[one]["auroc"] > rows[other]["auroc"])


def unsolved(cells: Sequence[Cell], rows: Rows) -> Unsolved | None:
    """The question in which the highest mean AUROC of any detector is lowest, oracles and controls left out.

    Args:
        cells: Those of a question together.
        rows: Of these cells.
    """
    labels = sorted({label for (_, label), row in rows.items() if _kind(row["access"]) == "method"})
    found = []
    for question, of_one in groupby(cells, lambda cell: cell.question):
        worlds = [cell.sets for cell in of_one]
        means = [(mean, label) for label in labels if (mean := _mean_auroc(label, worlds, rows)) is not None]
        if means:
            auroc, label = max(means, key=lambda pair: pair[0])
            found.append(Unsolved(question, label, auroc))
    return min(found, key=lambda one: one.auroc) if found else None


def _mean_auroc(label: str, worlds: Iterable[Sequence[SetKey]], rows: Rows) -> float | None:
    """Over worlds; None where an AUROC is missing."""
    here = [[rows[key, label]["auroc"] if (key, label) in rows else None for key in keys] for keys in worlds]
    return _mean([_mean(values) for values in here])


def whole_evaluations(row: Row) -> int:
    """Forwards and Jacobian products an item over all noise seeds, as tables round them.

    Example:
        >>> whole_evaluations({"forwards": 1.004, "jvps": 0.0, "vjps": 0.0, "seeds": 8})
        8
        >>> whole_evaluations({"forwards": 0.02, "jvps": 0.0, "vjps": 0.0, "seeds": 1})
        1
    """
    exact = (row["forwards"] + row["jvps"] + row["vjps"]) * row["seeds"]
    return max(1, round(exact)) if exact > 0 else 0


def failure(row: Row | None) -> str:
    """Why a detector is of no use on a set; an empty text where it is of some.

    Args:
        row: Its row there, if it was run.
    """
    if row is None:
        return "not run"
    if row["status"] != "ok":
        said = {"not-applicable": "not applicable", "constant": "one score for all items"}
        return said.get(row["status"], f"failed ({row['status']})")
    if not row["ranked"]:
        return "run with other noise seeds"
    low = row["gain_over_control_low"]
    return "not shown to beat the best control" if low is not None and low <= 0 else ""


def by_reason(failures: Sequence[Failure]) -> list[tuple[str, list[Failure]]]:
    """Failures of one reason together, in the order in which reasons come up.

    Example:
        >>> [(why, len(of_one)) for why, of_one in by_reason([Failure("a", "x"), Failure("b", "y"), Failure("c", "x")])]
        [('x', 2), ('y', 1)]
    """
    found: dict[str, list[Failure]] = {}
    for one in failures:
        found.setdefault(one.why, []).append(one)
    return list(found.items())


def _kind(access: str) -> Kind:
    return "control" if is_control(access) else "oracle" if access == _ORACLE else "method"


def _row(standing: Standing, ranking: WorldRanking, rows: Rows) -> MethodRow:
    label = standing.detector
    keys = [key for cell in ranking.cells for key in cell.sets]
    own = {key: rows.get((key, label)) for key in keys}
    known = [row for row in own.values() if row is not None]
    costs = [row for row in known if row["status"] == "ok"]
    gains: dict[str, float | None] = {}
    aurocs: dict[str, float | None] = {}
    pairs = zip(ranking.cells, standing.cells, strict=True)
    for question, of_one in groupby(pairs, lambda pair: pair[0].question):
        figures = [of_cell for _, of_cell in of_one]
        gains[question] = _mean([of_cell.gain for of_cell in figures])
        aurocs[question] = _mean([of_cell.auroc for of_cell in figures if of_cell.auroc is not None])
    return MethodRow(
        standing,
        kind="control" if standing.control else _kind(known[0]["access"]) if known else "method",
        gains=gains,
        aurocs=aurocs,
        evaluations=max(map(whole_evaluations, costs), default=0),
        one_forward=bool(costs) and all(_is_one_forward(row) for row in costs),
        failures=[
            Failure(key[0], why, None if row is None else row["auroc"])
            for key, row in own.items()
            if (why := failure(row))
        ],
        variants=sorted(
            one.detector for one in ranking.standings if one.method == standing.method and one.detector != label
        ),
    )


def _is_one_forward(row: Row) -> bool:
    return round(row["forwards"]) == 1 and not row["jvps"] and not row["vjps"]


def _mean(values: Sequence[float | None]) -> float | None:
    """None where one is, or where there are none."""
    known = [value for value in values if value is not None]
    return float(sum(known) / len(known)) if known and len(known) == len(values) else None


def _wins(
    labels: Sequence[str], ranking: WorldRanking, rows: Rows, apart: Mapping[SetKey, Apart]
) -> tuple[list[list[int]], list[list[int]]]:
    wins = [[0] * len(labels) for _ in labels]
    both = [[0] * len(labels) for _ in labels]
    for key in (key for cell in ranking.cells for key in cell.sets if key in apart):
        here = {label: rows[key, label] for label in labels if (key, label) in rows}
        here = {label: row for label, row in here.items() if row["status"] == "ok" and row["ranked"]}
        for one in here:
            for other in here:
                if one != other:
                    place = labels.index(one), labels.index(other)
                    both[place[0]][place[1]] += 1
                    wins[place[0]][place[1]] += apart[key].above(one, other, here)
    return wins, both
