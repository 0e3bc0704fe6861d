"""Detectors over questions and worlds: mean gain, rank and how far they move from world to world."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from memdet.detectors.base import is_control
from memdet.leaderboard.board import BoardEntry, Tables
from memdet.leaderboard.cells import Cell, asking_specs, cells_of, enough_run, is_saturated, units_of
from memdet.metrics import Interval, Means, SetAreas, SetScores, bootstrap_sets, ranks_of, tau_between
from memdet.results.run import CONSTANT, SetKey
from memdet.results.scores import MeanScores
from memdet.samplesets import SampleSetSpec
from memdet.tables.rows import Row

FINDS_NOTHING = {"not-applicable", CONSTANT}
FIELD = 8  # detectors before a set can be saturated: one or two perfect ones saturate nothing
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class CellFigures:
    """A detector in one cell.

    Attributes:
        auroc: Mean over the sets to which it applies; None where there is none, or its scores are missing.
        gain: Mean over all sets of the AUROC minus that of the set's best control, 0 where it does not apply; None
            where scores are missing.
        applies: To how many of the sets.
    """

    auroc: float | None
    gain: float | None
    applies: int


@dataclass(frozen=True)
class Standing:
    """A detector in the ranking.

    Attributes:
        detector: Label.
        control: Whether it is a control.
        cells: In the order of the ranking's cells.
        gain: Mean gain over questions; None where a cell is missing.
        rank: With its simultaneous interval; None where the gain is, and for variants that do not stand for their
            method.
        tau: By question that it answers in two or more worlds.
        tied: The others with a rank that are not told apart from it, the best first.
    """

    detector: str
    control: bool
    cells: list[CellFigures]
    gain: Interval | None
    rank: tuple[int, int, int] | None
    tau: dict[str, float]
    tied: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        """Name without options."""
        return method_of(self.detector)


@dataclass(frozen=True)
class WorldRanking:
    """The ranking over questions and worlds.

    Attributes:
        cells: Those of a question together.
        standings: The best first; those without a rank follow by name.
        left_out: Sets that ask a question and take no part so far: too few were run, or too few clusters.
        saturated: Sets that ask a question which half of the detectors answer.
    """

    cells: list[Cell]
    standings: list[Standing]
    left_out: list[SetKey]
    saturated: list[SetKey]

    @property
    def worlds(self) -> dict[str, list[str]]:
        """Worlds of each question."""
        return {name: [cell.world for cell in of_one] for name, of_one in groupby(self.cells, lambda c: c.question)}


def method_of(label: str) -> str:
    """Name of a detector without its options.

    Example:
        >>> method_of("wen2024@steps=5")
        'wen2024'
    """
    return label.partition("@")[0]


def row_of_methods(labels: Iterable[str]) -> dict[str, str]:
    """The variant that stands for each method: the one with default options, else the first in the alphabet.

    Example:
        >>> row_of_methods(["wen2024@steps=5", "wen2024", "dsm@k=2", "dsm@k=1"])
        {'dsm': 'dsm@k=1', 'wen2024': 'wen2024'}
    """
    found: dict[str, str] = {}
    for label in sorted(labels):  # a name alone comes before the same name with options
        found.setdefault(method_of(label), label)
    return found


def world_ranking(tables: Tables, rows: Sequence[Row]) -> WorldRanking | None:
    """Rank the detectors of the board over questions and worlds, by the rules of ``docs/statistics.md``.

    Args:
        tables: From :func:`~memdet.leaderboard.board.chosen_entries`.
        rows: Those of these tables.

    Returns:
        None where no set takes part.
    """
    asking = asking_specs(tables)
    by_set = {key: [row for row in rows if (row["sample_set"], row["sample_set_version"]) == key] for key in asking}
    saturated = sorted(key for key, of_set in by_set.items() if is_saturated(of_set, least=FIELD))
    by_set = {key: of_set for key, of_set in by_set.items() if key not in saturated}
    kept = {key: asking[key] for key in enough_run(by_set)}
    means = {key: _means(tables[key], by_set[key]) for key in kept}
    conditions = {key: next((one.conditions for one in tables[key] if one.conditions), {}) for key in kept}
    units = units_of({key: of_set.items for key, of_set in means.items()}, kept, conditions)
    kept = {key: spec for key, spec in kept.items() if _testable(means[key], units[key])}
    left_out = sorted(set(by_set) - set(kept))
    if not kept:
        return None
    cells = cells_of(kept)
    keys = [key for cell in cells for key in cell.sets]
    areas = bootstrap_sets([_set_scores(means[key], units[key], kept[key]) for key in keys])
    sources = _Sources.of(keys, by_set, areas)
    standings = [*_standings(cells, keys, areas, sources), *_never_ranked(by_set, keys, areas, len(cells))]
    return WorldRanking(cells, standings, left_out, saturated)


@dataclass(frozen=True)
class _Sources:
    """Which row of the AUROCs counts for whom.

    Attributes:
        controls: Labels.
        rows: ``[sets]`` by detector, of those that have scores somewhere: its own row, that of the best control where
            it finds nothing, -1 where its scores are missing.
        best: ``[sets]``, the row of the best control.
    """

    controls: set[str]
    rows: dict[str, Ints]
    best: Ints

    @classmethod
    def of(cls, keys: Sequence[SetKey], by_set: Mapping[SetKey, Sequence[Row]], areas: SetAreas) -> _Sources:
        controls = {row["detector"] for key in keys for row in by_set[key] if is_control(row["access"])}
        place = {label: index for index, label in enumerate(areas.detectors)}
        is_one = np.array([label in controls for label in areas.detectors])
        best = np.argmax(np.where(is_one[:, None] & ~np.isnan(areas.values), areas.values, -1), axis=0)
        rows = {label: np.full(len(keys), -1) for label in areas.detectors}
        for index, key in enumerate(keys):
            here = {row["detector"]: row for row in by_set[key]}
            for label in areas.detectors:
                row = here.get(label)
                # A control without a row is one of the other task.
                silent = row["status"] in FINDS_NOTHING if row is not None else label in controls
                if silent:
                    rows[label][index] = best[index]
                elif row is not None and row["ranked"]:
                    rows[label][index] = place[label]
        return cls(controls, rows, best)


def _means(entries: Sequence[BoardEntry], rows: Sequence[Row]) -> MeanScores:
    """Scores of the rows that take part."""
    ranked = {row["detector"] for row in rows if row["ranked"]}
    means = MeanScores.of(entries[0].scores)
    for entry in entries:
        if entry.label in ranked:
            means.add(entry.label, entry.scores, moved=entry.detector.bound_to_seeds)
    return means


def _testable(means: MeanScores, units: Sequence[str]) -> bool:
    names = np.asarray(units)
    return all(len(np.unique(names[means.labels == label])) > 1 for label in (0, 1))


def _set_scores(means: MeanScores, units: Sequence[str], spec: SampleSetSpec) -> SetScores:
    moved = {label: table for label, table in means.by_seed.items() if label not in means.unmoved}
    draws = {label: of_seeds for label, of_seeds in zip(moved, means.draws(moved), strict=True) if of_seeds is not None}
    seeds = sorted({int(seed) for table in moved.values() for seed in table.columns})
    return SetScores(means.labels, units, means.scores, draws, seeds, str(spec.world))


def _standings(cells: Sequence[Cell], keys: Sequence[SetKey], areas: SetAreas, sources: _Sources) -> list[Standing]:
    where = {cell: [keys.index(key) for key in cell.sets] for cell in cells}
    complete = [label for label, rows in sources.rows.items() if (rows >= 0).all()]
    places = _places(cells, complete, areas, sources)
    found = []
    for label, rows in sources.rows.items():
        of_cells = [_figures(label, rows, where[cell], areas, sources) for cell in cells]
        tau = _tau(label, cells, of_cells, [_own(label, rows, where[cell], areas) for cell in cells], areas)
        gain, rank, tied = places.get(label, (None, None, ()))
        found.append(Standing(label, label in sources.controls, of_cells, gain, rank, tau, tied))
    return sorted(found, key=lambda one: (one.rank is None, one.rank or (), one.detector))


def _never_ranked(
    by_set: Mapping[SetKey, Sequence[Row]], keys: Sequence[SetKey], areas: SetAreas, n_cells: int
) -> list[Standing]:
    """Detectors of which every row averages another number of noise seeds than the others of its set."""
    scored = {row["detector"] for key in keys for row in by_set[key] if row["status"] == "ok"}
    nothing = [CellFigures(None, None, 0)] * n_cells
    return [Standing(label, False, nothing, None, None, {}) for label in sorted(scored - set(areas.detectors))]


_Place = tuple[Interval, tuple[int, int, int] | None, tuple[str, ...]]


def _places(cells: Sequence[Cell], complete: Sequence[str], areas: SetAreas, sources: _Sources) -> dict[str, _Place]:
    """Gain of each detector that has every cell; rank, and who is tied, of those that stand for their method."""
    if not complete:
        return {}
    weights = _weights(cells)

    def means(labels: Sequence[str]) -> Means:
        return areas.means(weights, np.stack([sources.rows[label] for label in labels]), sources.best)

    gains = dict(zip(complete, means(complete).intervals(), strict=True))
    found: dict[str, _Place] = {label: (gain, None, ()) for label, gain in gains.items()}
    standing = sorted(row_of_methods(complete).values(), key=lambda label: (-gains[label].value, label))
    ranks = ranks_of(means(standing))
    apart = ranks.above + ranks.above.T
    for place, label in enumerate(standing):
        numbers = (int(ranks.values[place]), int(ranks.low[place]), int(ranks.high[place]))
        tied = tuple(other for at, other in enumerate(standing) if at != place and not apart[place, at])
        found[label] = (gains[label], numbers, tied)
    return found


def _weights(cells: Sequence[Cell]) -> list[float]:
    """Of each set in a mean over sets, then worlds, then questions."""
    questions = [cell.question for cell in cells]
    return [
        1 / (len(set(questions)) * questions.count(cell.question) * len(cell.sets)) for cell in cells for _ in cell.sets
    ]


def _own(label: str, rows: Ints, sets: Sequence[int], areas: SetAreas) -> list[int]:
    """The sets of a cell in which a detector's own AUROC counts."""
    return [place for place in sets if rows[place] >= 0 and areas.detectors[rows[place]] == label]


def _figures(label: str, rows: Ints, sets: Sequence[int], areas: SetAreas, sources: _Sources) -> CellFigures:
    own = _own(label, rows, sets, areas)
    if (rows[sets] < 0).any():
        return CellFigures(None, None, len(own))
    auroc = float(np.mean([areas.values[rows[place], place] for place in own])) if own else None
    gain = np.mean([areas.values[rows[place], place] - areas.values[sources.best[place], place] for place in sets])
    return CellFigures(auroc, float(gain), len(own))


def _tau(
    label: str, cells: Sequence[Cell], figures: Sequence[CellFigures], own: Sequence[list[int]], areas: SetAreas
) -> dict[str, float]:
    found: dict[str, list[tuple[float, float]]] = {}
    for cell, of_cell, sets in zip(cells, figures, own, strict=True):
        if of_cell.auroc is not None:
            spread = areas.variance_of_mean(areas.detectors.index(label), sets)
            found.setdefault(cell.question, []).append((of_cell.auroc, spread))
    return {question: tau_between(*zip(*worlds, strict=True)) for question, worlds in found.items() if len(worlds) > 1}
