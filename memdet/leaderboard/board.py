"""The leaderboard: every run below one directory, one table for each version of a sample set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from memdet.errors import UserError
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.results.store import read_manifest, read_scores
from memdet.tables.rows import CONTROLS, set_rows, status_of

SCHEMA_VERSION = 1
SIGNIFICANT_DIGITS = 6  # what is beyond may differ by the order in which a processor adds
TableKey = tuple[str, int]


@dataclass(frozen=True)
class BoardEntry:
    """A detector on one version of a sample set, in one run."""

    run: str
    started: str
    detector: dict[str, Any]  # as the run's settings name it
    scores: pd.DataFrame
    seconds: float | None
    messages: list[str]

    @property
    def label(self) -> str:
        """The detector's, with its options."""
        return str(self.detector["label"])

    def place(self) -> tuple[bool, str]:
        """Controls are first in a table."""
        return self.detector["access"] not in CONTROLS, self.label

    def rank(self) -> tuple[Any, ...]:
        """Of several entries of one detector the first in this order stands on the board."""
        version = int(self.scores["detector_version"].max())
        failed = status_of(self.scores) in {"error", "nonfinite"}
        return -version, failed, -self.scores["seed"].nunique(), self.started, self.run


def find_runs(root: Path) -> list[Path]:
    """Finished runs at or below a directory: those that have their score file, sorted; scans, without labels, aside."""
    found = (file.parent for file in root.rglob("run.json"))
    return sorted(run for run in found if (run / "scores.parquet").is_file() and not (run / "scan.json").exists())


def leaderboard_rows(root: Path) -> list[dict[str, Any]]:
    """The rows of all runs below a directory, computed from their score files.

    A table holds one version of a sample set. Of a detector that several runs scored there, the row is that of its
    highest version, then of the run with more noise seeds, then of the older run. The gain is over the best control of
    the table. Floats are rounded to ``SIGNIFICANT_DIGITS``, so that the rows are the same on every machine.

    Args:
        root: The directory; ``run`` in a row is a path that starts there.

    Returns:
        Rows with ``FIELDS``, by sample set and version; within a table the highest AUROC is first.

    Raises:
        UserError: No run, a damaged one, or runs whose items or models differ under one name and version.
    """
    return [row for key, entries in chosen_entries(root).items() for row in _table(key, entries)]


def chosen_entries(root: Path) -> dict[TableKey, list[BoardEntry]]:
    """What stands on the board: the entries of each version of a sample set, controls first; errors as above."""
    runs = find_runs(root)
    if not runs:
        raise UserError(f"{root} holds no finished run: a run is a directory with run.json and scores.parquet")
    tables: dict[TableKey, dict[str, list[BoardEntry]]] = {}
    hashes: dict[tuple[Any, ...], tuple[str, str]] = {}
    for run in runs:
        manifest = read_manifest(run)
        name = run.relative_to(root).as_posix()
        _compare_hashes(hashes, manifest, name)
        for key, entry in _entries(run, manifest, name):
            tables.setdefault(key, {}).setdefault(entry.label, []).append(entry)
    found = {}
    for key in sorted(tables, key=_natural):
        chosen = [min(entries, key=BoardEntry.rank) for entries in tables[key].values()]
        found[key] = sorted(chosen, key=BoardEntry.place)
    return found


def leaderboard_json(rows: Sequence[dict[str, Any]]) -> str:
    """``{"schema_version": ..., "rows": [...]}``, a line a row."""
    lines = ",\n".join("  " + json.dumps(row, allow_nan=False) for row in rows)
    return f'{{\n "schema_version": {SCHEMA_VERSION},\n "rows": [\n{lines}\n ]\n}}\n'


def _entries(run: Path, manifest: dict[str, Any], name: str) -> Iterable[tuple[TableKey, BoardEntry]]:
    detectors = {entry["label"]: entry for entry in manifest["settings"]["detectors"]}
    for (sample_set, version, label), scores in (
        read_scores(run).to_pandas().groupby(["sample_set", "sample_set_version", "detector"], sort=False)
    ):
        total = manifest.get("seconds", {}).get(sample_set, {}).get(label)
        yield (
            (str(sample_set), int(version)),
            BoardEntry(
                run=name,
                started=manifest.get("started", ""),
                detector=detectors[label],
                scores=scores.sort_values(["seed", "item_id"]),  # runs may order items differently
                seconds=None if total is None else total / len(scores),
                messages=manifest.get("messages", {}).get(sample_set, {}).get(label, []),
            ),
        )


def _table(key: TableKey, entries: Sequence[BoardEntry]) -> list[dict[str, Any]]:
    sample_set, _ = key
    _compare_items(key, entries)
    manifest = {
        "settings": {"detectors": [entry.detector for entry in entries]},
        "messages": {sample_set: {entry.label: entry.messages for entry in entries}},
    }
    seconds = {entry.label: entry.seconds for entry in entries if entry.seconds is not None}
    rows = set_rows(manifest, sample_set, None, {entry.label: entry.scores for entry in entries}, seconds)
    runs = {entry.label: entry.run for entry in entries}
    rows = [{name: rounded(value) for name, value in row.items()} | {"run": runs[row["detector"]]} for row in rows]
    return sorted(rows, key=lambda row: (row["auroc"] is None, -(row["auroc"] or 0.0), row["detector"]))


def _compare_hashes(seen: dict[tuple[Any, ...], tuple[str, str]], manifest: dict[str, Any], run: str) -> None:
    """Data and models of one name and version must be the same in all runs.

    A closed form is computed, and its last digits depend on the processor.
    """
    for stored in manifest["settings"].get("sample_sets", []):
        key = stored["id"], stored["version"]
        found = {(*key, "items"): stored["content_hash"]}
        found |= {(*key, m): h for m, h in stored["model_hashes"].items() if m not in CLOSED_FORM}
        for what, digest in found.items():
            other, expected = seen.setdefault(what, (run, digest))
            if digest != expected:
                part = "the items" if what[-1] == "items" else f"the model {what[-1]}"
                raise UserError(
                    f"{other} and {run} differ in {part} of {key[0]} v{key[1]}: their rows cannot share a table; "
                    "run one of them again"
                )


def _compare_items(key: TableKey, entries: Sequence[BoardEntry]) -> None:
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


def _natural(key: TableKey) -> list[tuple[int, str]]:
    """Numbers within a name in the order of their size."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", f"{key[0]} {key[1]}")]


def rounded(value: Any) -> Any:
    """A float to ``SIGNIFICANT_DIGITS``, also within lists and dictionaries; anything else as it is."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.{SIGNIFICANT_DIGITS}g}") if isinstance(value, float) else value
