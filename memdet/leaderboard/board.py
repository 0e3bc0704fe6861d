"""The leaderboard: every run below one directory, one table for each version of a sample set."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from memdet.detectors.registry import is_outdated
from memdet.errors import UserError
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.results.images import Key
from memdet.results.manifest import DetectorEntry, Manifest, SampleSetEntry, Settings
from memdet.results.run import Run, SetKey, status_of
from memdet.results.schema import SCORES
from memdet.results.store import GENERATION_FILE, read_items
from memdet.tables.rows import Row, set_rows
from memdet.tables.set_statistics import common_seeds

SCHEMA_VERSION = 1
FOLDERS = 5_000  # in which runs are looked for
_NO_RUNS = {"node_modules", "site-packages", "__pycache__"}
SIGNIFICANT_DIGITS = 6  # what is beyond may differ by the order in which a processor adds


@dataclass(frozen=True)
class BoardEntry:
    """A detector on one version of a sample set, in one run.

    Attributes:
        run: Path of the run from the root of the board.
        started: When the run did.
        of_set, detector: As the run's settings name them.
        scores: Rows of the score table.
        seconds: An item and seed.
        messages: What the detector said.
        conditions: What each item asks, by item id; empty where the run does not know it.
        yours: Whether it is of a run beside the board's.
    """

    run: str
    started: str
    of_set: SampleSetEntry | None
    detector: DetectorEntry
    scores: pd.DataFrame
    seconds: float | None
    messages: list[str]
    conditions: Mapping[str, str] = field(default_factory=dict)
    yours: bool = False

    @property
    def label(self) -> str:
        """The detector's, with its options."""
        return self.detector.label

    def place(self) -> tuple[bool, str]:
        """Controls are first in a table."""
        return not self.detector.is_control, self.label

    @property
    def seeds(self) -> int:
        """Noise seeds of its rows."""
        return int(self.scores["seed"].nunique())

    @property
    def version(self) -> int:
        """Of the detector that made the scores."""
        return int(self.scores["detector_version"].max())

    @property
    def failed(self) -> bool:
        """Whether it has no numbers by a fault of its own."""
        return status_of(self.scores, is_control=self.detector.is_control) in {"error", "nonfinite", "constant"}

    def rank(self, common: int | None) -> tuple[Any, ...]:
        """Of several entries of one detector the first in this order stands on the board.

        Args:
            common: Noise seeds of those that are ranked with each other.
        """
        return -self.version, self.failed, self.seeds != common, -self.seeds, self.started, self.run


Tables = dict[SetKey, list[BoardEntry]]


def find_runs(root: Path) -> list[Path]:
    """Finished runs of detectors on labelled items at or below a directory, sorted: those that have their score file.

    Scans, which have no labels, and runs of mitigations are passed over. Nothing is looked for below a run, in hidden
    folders or behind links.

    Raises:
        UserError: There are more than ``FOLDERS`` folders: somebody named a disk, and no directory of runs.
    """
    found = []
    for seen, (folder, below, files) in enumerate(os.walk(root)):
        if seen == FOLDERS:
            raise UserError(
                f"{root} has more than {FOLDERS:,} folders below it: name a directory that holds runs and little else"
            )
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in _NO_RUNS)
        if {"run.json", "scores.parquet"} <= set(files):
            below.clear()
            if not {"scan.json", GENERATION_FILE} & set(files):
                found.append(Path(folder))
    return sorted(found)


def leaderboard_rows(root: Path) -> list[Row]:
    """The rows of all runs below a directory, computed from their score files.

    A table holds one version of a sample set. Of a detector that several runs scored there, the row is that of its
    highest version, then of a run with the noise seeds that most detectors of the table have (rows with others are
    shown and not ranked, see :func:`~memdet.tables.rows.rows_of`), then of the run with more of them, then of the older
    run. The gain is over the best control of
    the table. Floats are rounded to ``SIGNIFICANT_DIGITS``, so that the rows are the same on every machine.

    Args:
        root: The directory; ``run`` in a row is a path that starts there.

    Returns:
        Rows with ``FIELDS``, by sample set and version; within a table the highest AUROC is first, and rows that are
        not ranked follow.

    Raises:
        UserError: No run, a damaged one, or runs whose items, protocols or models differ under one name and version.
    """
    return rows_of_tables(chosen_entries(root))


def rows_of_tables(tables: Tables) -> list[Row]:
    """The rows of :func:`leaderboard_rows`, of what stands on the board."""
    return [row for key, entries in tables.items() for row in _table(key, entries)]


def chosen_entries(root: Path, sets: Collection[str] | None = None) -> Tables:
    """What stands on the board: the entries of each version of a sample set, controls first; errors as above.

    Args:
        root: The directory.
        sets: Sample sets that are read; None reads all.
    """
    paths = find_runs(root)
    if not paths:
        raise UserError(f"{root} holds no finished run: a run is a directory with run.json and scores.parquet")
    tables: dict[SetKey, dict[str, list[BoardEntry]]] = {}
    hashes: dict[tuple[str, int, str], tuple[str, str]] = {}
    for path in paths:
        run, name = Run.load(path), path.relative_to(root).as_posix()
        _compare_hashes(hashes, run.manifest, name)
        for key, entry in entries_of(run, name, sets):
            if _is_old_oracle(entry):
                continue
            tables.setdefault(key, {}).setdefault(entry.label, []).append(entry)
    found = {}
    for key in sorted(tables, key=lambda key: natural(*key)):
        common = _common_seeds(tables[key])
        chosen = [min(entries, key=lambda entry: entry.rank(common)) for entries in tables[key].values()]
        found[key] = sorted(chosen, key=BoardEntry.place)
    return found


def _common_seeds(entries: Mapping[str, Sequence[BoardEntry]]) -> int | None:
    """The number of noise seeds that most detectors of a table have in some run."""
    counts: list[int] = []
    for of_detector in entries.values():
        counts += {entry.seeds for entry in of_detector if not entry.failed and entry.detector.bound_to_seeds}
    return common_seeds(counts)


def joined(tables: Tables, name: str, images: Mapping[Key, bytes] | None = None) -> Run:
    """One run in memory that holds the entries of tables, each of another sample set.

    Args:
        tables: From :func:`chosen_entries`.
        name: Of the run.
        images: Generations for the page.
    """
    entries = [entry for of_table in tables.values() for entry in of_table]
    detectors = {entry.label: entry.detector for entry in sorted(entries, key=BoardEntry.place)}
    settings = Settings(
        sample_sets=[of_table[0].of_set for of_table in tables.values() if of_table[0].of_set is not None],
        detectors=list(detectors.values()),
    )
    manifest = Manifest(
        command="memdet leaderboard",
        settings=settings,
        seconds={
            key[0]: {e.label: e.seconds * len(e.scores) for e in of_table if e.seconds is not None}
            for key, of_table in tables.items()
        },
        messages={key[0]: {entry.label: entry.messages for entry in of_table} for key, of_table in tables.items()},
        finished=True,
    )
    scores = pd.concat([entry.scores for entry in entries], ignore_index=True)
    table = pa.Table.from_pandas(scores, schema=SCORES, preserve_index=False)
    return Run.from_tables(manifest, table, name=name, images=images)


def leaderboard_json(rows: Sequence[dict[str, Any]], ranking: Mapping[str, Any] | None = None) -> str:
    """``{"schema_version": ..., "rows": [...]}``, a line a row, and where there is one the ``"ranking"``.

    Args:
        rows: From :func:`leaderboard_rows`.
        ranking: From :func:`~memdet.leaderboard.ranking_text.ranking_json`; its lists are written a line an element.
    """
    parts = [f' "schema_version": {SCHEMA_VERSION}', f' "rows": [\n{_lines(rows, "  ")}\n ]']
    if ranking is not None:
        lists = (f"  {json.dumps(name)}: [\n{_lines(part, '   ')}\n  ]" for name, part in ranking.items())
        parts.append(' "ranking": {\n' + ",\n".join(lists) + "\n }")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(parts: Sequence[Any], indent: str) -> str:
    return ",\n".join(indent + json.dumps(part, allow_nan=False) for part in parts)


def entries_of(run: Run, name: str, sets: Collection[str] | None = None) -> Iterator[tuple[SetKey, BoardEntry]]:
    """What a run could put on a board.

    Args:
        run: A finished one.
        name: Of the run, as rows give it.
        sets: Sample sets that are read; None reads all.
    """
    manifest = run.manifest
    items = None if run.path is None else read_items(run.path)
    conditions: dict[str, dict[str, str]] = {}
    for of_item in [] if items is None else items.to_pylist():
        conditions.setdefault(of_item["sample_set"], {})[of_item["item_id"]] = of_item["condition"]
    for key in run.sets if sets is None else [key for key in run.sets if key[0] in sets]:
        tables = run.tables(key)
        of_set = manifest.sample_set(key[0])
        for entry in run.detectors:
            if entry.label not in tables:
                continue
            scores = tables[entry.label]
            total = manifest.seconds.get(key[0], {}).get(entry.label)
            yield (
                key,
                BoardEntry(
                    run=name,
                    started=manifest.started,
                    of_set=of_set if of_set is not None and of_set.version == key[1] else None,
                    detector=entry,
                    scores=scores.sort_values(["seed", "item_id"]),  # runs may order items differently
                    seconds=None if total is None else total / len(scores),
                    messages=manifest.messages_of(key[0], entry.label),
                    conditions=conditions.get(key[0], {}),
                ),
            )


def _table(key: SetKey, entries: Sequence[BoardEntry]) -> list[Row]:
    _compare_items(key, entries)
    rows = set_rows(joined({key: list(entries)}, "leaderboard"), key)
    runs = {entry.label: entry.run for entry in entries}
    rows = [{name: rounded(value) for name, value in row.items()} | {"run": runs[row["detector"]]} for row in rows]
    return sorted(
        rows, key=lambda row: (row["auroc"] is None, not row["ranked"], -(row["auroc"] or 0.0), row["detector"])
    )


def _is_old_oracle(entry: BoardEntry) -> bool:
    """Whether it looked for copies among some of the training images, as oracles did before they were corrected."""
    return entry.detector.access == "training-data" and is_outdated(entry.detector.label, entry.version)


def _compare_hashes(seen: dict[tuple[str, int, str], tuple[str, str]], manifest: Manifest, run: str) -> None:
    """Data, protocols and models of one name and version must be the same in all runs.

    A closed form is computed, and its last digits depend on the processor.
    """
    for stored in manifest.settings.sample_sets:
        found = {"items or protocol": stored.content_hash}
        found |= {f"model {m}": digest for m, digest in stored.model_hashes.items() if m not in CLOSED_FORM}
        for what, digest in found.items():
            other, expected = seen.setdefault((stored.id, stored.version, what), (run, digest))
            if digest != expected:
                raise UserError(
                    f"{other} and {run} differ in the {what} of {stored.id} v{stored.version}: their rows cannot share "
                    "a table; run one of them again"
                )


def _compare_items(key: SetKey, entries: Sequence[BoardEntry]) -> None:
    """All rows of a table are about the same items."""
    first = _items(entries[0])
    for entry in entries[1:]:
        if _items(entry) != first:
            raise UserError(
                f"{entry.run} and {entries[0].run} differ in the items or labels of {key[0]} v{key[1]} "
                f"({entry.label}): `memdet submit` says which of them is wrong"
            )


def _items(entry: BoardEntry) -> set[tuple[str, int, str]]:
    kept = entry.scores[["item_id", "label", "cluster"]].drop_duplicates()
    return set(kept.itertuples(index=False, name=None))


def natural(*names: object) -> list[tuple[int, str]]:
    """A key by which names are sorted, numbers within them in the order of their size.

    Example:
        >>> sorted(["several-10", "several-3"], key=natural)
        ['several-3', 'several-10']
    """
    text = " ".join(map(str, names))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", text)]


def rounded(value: Any) -> Any:
    """A float to ``SIGNIFICANT_DIGITS``, also within lists and dictionaries; anything else as it is."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value
