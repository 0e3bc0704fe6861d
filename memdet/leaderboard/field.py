"""A detector of one's own against the field: all detectors that the board has on a sample set, in paired tests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from memdet.errors import UserError
from memdet.io_utils import json_text
from memdet.leaderboard.board import BoardEntry, Tables, chosen_entries, entries_of, find_runs
from memdet.metrics import Interval
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.results.manifest import Manifest
from memdet.results.run import Run, SetKey, status_of
from memdet.tables.comparison import FIELDS, NOT_COMPARED, adjust, compare_tables, empty_row
from memdet.tables.formats import markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.numbers import UNDEFINED, bounded, count, interval, number, p_value
from memdet.tables.rows import Row
from memdet.tables.table import Block, Table, left, notes_by_message, right

REPOSITORY = "https://github.com/memdet/memdet"
BOARD = "leaderboard.json"
MARK = "> "
NAMED = 6  # in a note
LEGEND = (
    "difference: the AUROC of your detector minus the other's, on the same items and noise seeds, with the 95 % "
    "interval for this pair by itself. Holm: two-sided p-value for equal AUROCs (DeLong's test over clusters and noise "
    "seeds), adjusted for all tests of the table. *: control, never calls the model."
)


@dataclass(frozen=True)
class Standing:
    """A detector among those that the board has on one sample set.

    Attributes:
        label: Of the detector.
        key: Sample set and version.
        auroc: Its, over all its noise seeds.
        rows: One a detector of the board, with the keys of :data:`~memdet.tables.comparison.FIELDS`; the first is
            one's own.
        controls: Which of the others are controls.
    """

    label: str
    key: SetKey
    auroc: Interval
    rows: Sequence[Row]
    controls: frozenset[str]

    @property
    def place(self) -> tuple[int, int]:
        """Place by AUROC among the detectors that were compared, controls aside, and how many these are."""
        others = [row["second_auroc"] for row in self.rows if _tested(row) and row["second"] not in self.controls]
        return 1 + sum(other > self.auroc.value for other in others), 1 + len(others)


def board_directory(given: Path | None = None) -> Path:
    """Where the scores of the board lie: as given, else those of the checkout, or of the folder one is in.

    Raises:
        UserError: They are not here, as with an installed package: the message says how to get them.
    """
    here = [given] if given is not None else [Path(__file__).resolve().parents[2] / "results", Path("results")]
    found = next((path for path in here if path.is_dir() and (given is not None or (path / BOARD).is_file())), None)
    if found is None:
        where = f"`board` {given} is no directory" if given is not None else "the scores of the board are not here"
        raise UserError(
            f"{where}: they come with the repository, git clone {REPOSITORY}, then `board` memdet/results",
            parameters=("board",),
        )
    return found


def sets_of_board(board: Path) -> dict[str, int]:
    """Sample sets of which the board has scores, with the highest version of each, in the order of its runs."""
    found: dict[str, int] = {}
    for path in find_runs(board):
        for entry in Manifest.read(path).settings.sample_sets:
            found[entry.id] = max(entry.version, found.get(entry.id, 0))
    if not found:
        raise UserError(f"{board} holds no finished run, so there is no field to compare with")
    return found


def against_field(
    run: Run, board: Path, *, sets: Collection[str] | None = None, labels: Sequence[str] = ()
) -> list[Standing]:
    """Test detectors of a run against every detector that the board has on the same sample sets.

    Scores of each pair are averaged over the noise seeds that both have. p-values are adjusted for each sample set and
    detector, after Holm.

    Args:
        run: One's own.
        board: Directory of the board's runs.
        sets: Sample sets that count; None takes all that both have.
        labels: Detectors of the run; by default those that the board does not have, controls aside.

    Returns:
        One a sample set and detector.

    Raises:
        UserError: A label that the run does not have, no detector that is new to the board, or no common sample set.
    """
    wanted = {name for name, _ in run.sets if sets is None or name in sets}
    tables = chosen_entries(board, wanted) if wanted else {}
    common, chosen = _in_common(run, tables, labels)
    found = [_standing(run, key, label, tables[key]) for key in common for label in chosen if label in run.tables(key)]
    return [standing for standing in found if standing is not None]


def with_yours(tables: Tables, run: Run, labels: Sequence[str] = ()) -> Tables:
    """The board with the detectors of one more run in it, marked as yours.

    Args:
        tables: From :func:`~memdet.leaderboard.board.chosen_entries`.
        run: One's own.
        labels: Its detectors that count; by default those that the board does not have, controls aside. One that the
            board has too takes the board's place.

    Raises:
        UserError: As for :func:`against_field`; or the run scored other items, or under another protocol.
    """
    common, chosen = _in_common(run, tables, labels)
    for key in common:
        if problem := _differs(run, key, tables[key][0]):
            raise UserError(f"{run.name}, {key[0]} v{key[1]}: {problem} than those of the board")
    mine = [(key, replace(one, yours=True)) for key, one in entries_of(run, run.name) if one.label in chosen]
    found = {key: [one for one in entries if one.label not in chosen] for key, entries in tables.items()}
    for key, entry in mine:
        if key in found:
            found[key].append(entry)
    return {key: sorted(entries, key=BoardEntry.place) for key, entries in found.items()}


def _in_common(run: Run, tables: Tables, labels: Sequence[str]) -> tuple[list[SetKey], list[str]]:
    """Sample sets that both have, and the detectors of a run that are meant."""
    own = [entry.label for entry in run.detectors if not entry.is_control]
    if unknown := [label for label in labels if label not in own]:
        raise UserError(f"{run.name} has no detector {unknown[0]}: it has {', '.join(own)}")
    known = {entry.label for entries in tables.values() for entry in entries}
    chosen = list(labels) or [label for label in own if label not in known]
    common = [key for key in run.sets if key in tables]
    if not common:
        has = ", ".join(f"{name} v{version}" for name, version in run.sets)
        raise UserError(f"{run.name} and the board have no sample set in common: the run has {has}")
    if not chosen:
        raise UserError(
            f"every detector of {run.name} is on the board already: name the one that you mean, `detector` "
            f"{next(iter(own), '')}",
            parameters=("detector",),
        )
    return common, chosen


def _standing(run: Run, key: SetKey, label: str, entries: Sequence[BoardEntry]) -> Standing | None:
    entry = run.manifest.detector(label)
    mine, free = run.tables(key)[label], entry is not None and not entry.bound_to_seeds
    if status_of(mine) != "ok":
        return None
    rows = []
    for other in entries:
        row = empty_row((*key, None), (label, other.label), (run.name, other.run))
        if problem := _differs(run, key, other):
            row["message"] = problem
        else:
            fixed = (free, not other.detector.bound_to_seeds)
            row |= compare_tables(mine, other.scores, (run.name, other.run), free=fixed)
        rows.append(row)
    adjust(rows)
    controls = frozenset(other.label for other in entries if other.detector.is_control)
    return Standing(label, key, run.roc(label, key[0]).auroc, rows, controls)


def _differs(run: Run, key: SetKey, other: BoardEntry) -> str:
    """Why scores of one sample set cannot be held against each other; empty where they can."""
    mine = run.manifest.sample_set(key[0])
    if mine is None or other.of_set is None:
        return ""
    if mine.content_hash and other.of_set.content_hash and mine.content_hash != other.of_set.content_hash:
        return "scored on other items or under another protocol"
    for model, digest in mine.model_hashes.items():  # a closed form's last digits depend on the processor
        if model not in CLOSED_FORM and other.of_set.model_hashes.get(model, digest) != digest:
            return f"scored with other weights of {model}"
    return ""


def _tested(row: Row) -> bool:
    return bool(row["status"] != NOT_COMPARED)


def _rows(found: Sequence[Standing]) -> list[Row]:
    return [row for standing in found for row in standing.rows]


def _table(standing: Standing) -> Table:
    """The detector marked, in its place; controls last."""
    tested = [row for row in standing.rows if _tested(row)]
    area = bounded(number(standing.auroc.value), standing.auroc.low, standing.auroc.high)
    lines = [(False, -standing.auroc.value, [f"{MARK}{standing.label}", area, *[UNDEFINED] * 3, "yours"])]
    for row in tested:
        control = row["second"] in standing.controls
        cells = [
            f"  {row['second']}" + (" *" if control else ""),
            number(row["second_auroc"]),
            interval(row, "difference", sign=True),
            p_value(row["p"]) if row["p"] is not None else UNDEFINED,
            p_value(row["p_adjusted"]) if row["p_adjusted"] is not None else UNDEFINED,
            str(row["second_run"]),
        ]
        lines.append((control, -row["second_auroc"], cells))
    lines.sort(key=lambda line: line[:2])
    columns = (
        *left("detector"),
        *right("AUROC"),
        *right("difference"),
        *right("p", drop=2, best="low"),
        *right("Holm", best="low"),
        *left("run", drop=1),
    )
    first = max(tested, key=lambda row: row["n_positive"] + row["n_negative"], default=None)
    place, of = standing.place
    title = f"{standing.key[0]} v{standing.key[1]}: {standing.label} is {place} of {of} by AUROC"
    if first is not None:
        size = f"{first['n_positive']} memorized, {first['n_negative']} not"
        title += f"; {size}, effective n {count(round(first['n_effective'], 1))}"
    said = [
        (str(row["second"]), ("" if _tested(row) else "not compared: ") + row["message"])
        for row in standing.rows
        if row["message"]
    ]
    tail = sum(control for control, _, _ in lines)
    return Table(columns, [cells for _, _, cells in lines], title, notes_by_message(said, NAMED), tail=tail)


def _blocks(found: Sequence[Standing]) -> list[Block]:
    return [*map(_table, found), LEGEND]


FORMATS: dict[str, Callable[[Sequence[Standing]], str]] = {
    "table": lambda found: text.on_screen(_blocks(found)),
    "json": lambda found: json_text(_rows(found)),
    "csv": lambda found: to_csv(_rows(found), FIELDS),
    "markdown": lambda found: markdown.document(
        [markdown.plain_table(one) if isinstance(one, Table) else markdown.plain(one) for one in _blocks(found)]
    ),
}
