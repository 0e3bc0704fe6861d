"""A run on disk: ``run.json``, and score rows in shards that become ``scores.parquet``."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from memdet.errors import UserError

SCHEMA_VERSION = 2  # 2: the column extraction
SCORES = pa.schema(
    [
        ("sample_set", pa.string()),
        ("sample_set_version", pa.int64()),
        ("item_id", pa.string()),
        ("cluster", pa.string()),
        ("stratum", pa.string()),
        ("extraction", pa.float64()),
        ("label", pa.int64()),
        ("detector", pa.string()),
        ("detector_version", pa.int64()),
        ("seed", pa.int64()),
        ("score", pa.float64()),
        ("status", pa.string()),
        ("forwards", pa.float64()),
        ("jvps", pa.float64()),
        ("vjps", pa.float64()),
    ]
)
ITEMS = pa.schema([(name, pa.string()) for name in ("sample_set", "item_id", "condition", "model")])
ROWS_AT_ONCE = 2**15  # of a file, held in memory and in one row group
_NOTES = b"memdet"


class RunDirectory:
    """Writes and resumes one run.

    Every file is written under a temporary name and renamed, so what exists is complete. A shard holds the rows of one
    unit of work, and its timings and messages in the file's metadata.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._shards = path / "shards"

    @contextmanager
    def open(self, manifest: dict[str, Any]) -> Iterator[bool]:
        """Start the run, or take it up where it stopped.

        Args:
            manifest: With the key ``settings``: what must be equal for a run to be continued.

        Yields:
            Whether the run is finished already.

        Raises:
            UserError: The directory holds a run of other settings or other files, or is in use.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.path} is a file, not a directory")
        stored = read_manifest(self.path) if (self.path / "run.json").exists() else None
        if stored is None and self.path.is_dir() and any(p.name != ".lock" for p in self.path.iterdir()):
            raise UserError(f"--out {self.path} holds other files and no run: choose a new directory")
        if stored is not None and stored["settings"] != manifest["settings"]:
            changed = _difference(stored["settings"], manifest["settings"])
            raise UserError(f"--out {self.path} holds a run of other settings ({changed}): choose a new directory")
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock")
        try:
            with lock.acquire(timeout=0):
                if stored is None:
                    self.write_manifest(manifest)
                self._shards.mkdir(exist_ok=True)
                yield bool(stored and stored.get("finished")) and (self.path / "scores.parquet").exists()
        except Timeout:
            raise UserError(f"--out {self.path} is in use by another process") from None
        finally:
            if (self.path / "scores.parquet").exists():
                (self.path / ".lock").unlink(missing_ok=True)

    def has(self, unit: str) -> bool:
        """Whether the shard of a unit is complete."""
        return (self._shards / f"{unit}.parquet").exists()

    def write_shard(self, unit: str, rows: pa.Table, notes: dict[str, Any]) -> None:
        """Store the rows of one unit of work, all or nothing."""
        write_table(rows.replace_schema_metadata({_NOTES: json.dumps(notes)}), self._shards / f"{unit}.parquet")

    def finish(self, units: Iterable[str], manifest: dict[str, Any], items: Iterable[pa.Table]) -> None:
        """Join the shards in the order of ``units``; add their notes to the manifest; keep what the items were.

        Only ``ROWS_AT_ONCE`` rows are held, and the largest shard's.
        """
        totals = Totals()

        def rows() -> Iterator[pa.Table]:
            for unit in units:
                with pq.ParquetFile(self._shards / f"{unit}.parquet") as shard:
                    totals.add(json.loads(shard.schema_arrow.metadata[_NOTES]))
                    for group in range(shard.num_row_groups):
                        yield shard.read_row_group(group, use_threads=False).replace_schema_metadata(None)

        write_tables(items, ITEMS, self.path / "items.parquet")
        write_tables(rows(), SCORES, self.path / "scores.parquet")
        self.write_manifest(manifest | {"seconds": totals.seconds, "messages": totals.messages, "finished": True})
        shutil.rmtree(self._shards)

    def write_manifest(self, manifest: dict[str, Any]) -> None:
        """Replace ``run.json``."""
        target = self.path / "run.json"
        partial = target.with_suffix(".json.partial")
        partial.write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, target)


def read_manifest(path: Path) -> dict[str, Any]:
    """Read ``run.json`` of any schema version so far.

    Raises:
        UserError: Missing, damaged, or written by a newer memdet.
    """
    file = path / "run.json"
    if not file.is_file():
        raise UserError(f"{path} holds no run: run.json is missing")
    try:
        manifest: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        version = manifest["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is damaged: {error}") from None
    if version > SCHEMA_VERSION:
        raise UserError(
            f"{file} has schema version {version}, this memdet reads up to {SCHEMA_VERSION}: upgrade memdet"
        )
    return manifest


def read_scores(path: Path) -> pa.Table:
    """Read the score table of a finished run.

    Raises:
        UserError: Missing or damaged, or the run was interrupted.
    """
    file = _score_file(path)
    try:
        stored = pq.read_schema(file)
        table = pq.read_table(file, schema=pa.schema([field for field in SCORES if field.name in stored.names]))
        return _current(table, SCORES.names)
    except (ValueError, KeyError, OSError) as error:  # Arrow's mistakes are among them
        raise UserError(f"{file} is damaged: {str(error).splitlines()[0]}") from None


def scan_scores(path: Path, columns: Sequence[str]) -> Iterator[pa.Table]:
    """Read some columns of the score table of a finished run, ``ROWS_AT_ONCE`` rows at a time.

    Raises:
        UserError: As for :func:`read_scores`.
    """
    file = _score_file(path)
    try:
        with pq.ParquetFile(file) as stored:
            present = [name for name in columns if name in stored.schema_arrow.names]
            for batch in stored.iter_batches(ROWS_AT_ONCE, columns=present, use_threads=False):
                yield _current(pa.Table.from_batches([batch]), columns)
    except (ValueError, KeyError, OSError) as error:
        raise UserError(f"{file} is damaged: {str(error).splitlines()[0]}") from None


def count_scores(path: Path) -> int:
    """Rows of the score table of a finished run; errors as for :func:`read_scores`."""
    file = _score_file(path)
    try:
        return int(pq.read_metadata(file).num_rows)
    except (ValueError, OSError) as error:
        raise UserError(f"{file} is damaged: {str(error).splitlines()[0]}") from None


def _score_file(path: Path) -> Path:
    file = path / "scores.parquet"
    if not file.is_file():
        read_manifest(path)
        raise UserError(f"{path} holds an unfinished run: resume it with the command in its run.json")
    return file


def _current(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Columns of a score table of any schema version so far, as this memdet writes them."""
    if "extraction" in columns and "extraction" not in table.column_names:  # schema version 1
        table = table.append_column("extraction", pa.array([math.nan] * len(table), pa.float64()))
    return table.select(columns).cast(pa.schema([SCORES.field(name) for name in columns]))


def read_items(path: Path) -> pa.Table | None:
    """Condition and model of every item of a run; None where an older memdet did not keep them.

    Raises:
        UserError: Damaged.
    """
    file = path / "items.parquet"
    if not file.is_file():
        return None
    try:
        return pq.read_table(file, schema=ITEMS)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file} is damaged: {str(error).splitlines()[0]}") from None


class Totals:
    """Sums of the notes of shards.

    Attributes:
        seconds: By sample set and detector.
        messages: Each distinct one once, by sample set and detector.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, float]] = {}
        self.messages: dict[str, dict[str, list[str]]] = {}

    def add(self, note: dict[str, Any]) -> None:
        """Take the notes of one shard in."""
        for detector, value in note["seconds"].items():
            of_set = self.seconds.setdefault(note["sample_set"], {})
            of_set[detector] = of_set.get(detector, 0.0) + value
        for detector, message in note["messages"].items():
            known = self.messages.setdefault(note["sample_set"], {}).setdefault(detector, [])
            if message not in known:
                known.append(message)


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file, all or nothing."""
    write_tables([table], table.schema, path)


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Write tables one below the other in a Parquet file, all or nothing; ``ROWS_AT_ONCE`` rows are a row group."""
    partial = path.with_suffix(".partial")
    try:
        with pq.ParquetWriter(partial, schema) as writer:
            for group in _in_groups(tables, schema):
                writer.write_table(group)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)


def _in_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows, ``ROWS_AT_ONCE`` in each table but the last; no rows are one empty table."""
    kept: list[pa.Table] = []
    n = 0
    for table in tables:
        kept.append(table)
        n += len(table)
        while n > ROWS_AT_ONCE:
            joined = pa.concat_tables(kept)
            yield joined[:ROWS_AT_ONCE]
            kept, n = [joined[ROWS_AT_ONCE:]], n - ROWS_AT_ONCE
    yield pa.concat_tables(kept) if kept else schema.empty_table()


def _difference(stored: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Name what differs between two settings, shortly."""
    keys = [key for key in {**stored, **wanted} if stored.get(key) != wanted.get(key)]
    return ", ".join(keys)
