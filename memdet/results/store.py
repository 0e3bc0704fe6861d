"""Parquet files of a run: read whole or in pieces, written all or nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memdet.errors import UserError
from memdet.given_files import bytes_of, open_parquet, require_bytes, require_rows
from memdet.io_utils import replacing
from memdet.results.integrity import MEND, require_whole
from memdet.results.manifest import FILE, Manifest
from memdet.results.schema import ITEMS, ROWS_AT_ONCE, SCORES

SCORE_FILE, ITEM_FILE = "scores.parquet", "items.parquet"
GENERATION_FILE = "generations.parquet"  # of a run of mitigations, beside these
ARROW_ERRORS = (pa.ArrowException, ValueError, LookupError, TypeError, ArithmeticError, MemoryError, OSError)
"""What Arrow raises of a damaged file."""


def read_scores(directory: Path) -> pa.Table:
    """Read the score table of a finished run.

    Raises:
        UserError: Missing or damaged, or the run was interrupted.
    """
    return pa.concat_tables([*scan_scores(directory, SCORES.names), SCORES.empty_table()])


def require_whole_files(directory: Path, manifest: Manifest) -> None:
    """Refuse a run whose scores or items are not those that its manifest has the checksums of.

    Items may be missing, as they are from an entry of the leaderboard.

    Raises:
        UserError: Names the file.
    """
    require_whole(_score_file(directory), manifest.files.get(SCORE_FILE))
    if (directory / ITEM_FILE).is_file():
        require_whole(directory / ITEM_FILE, manifest.files.get(ITEM_FILE))


def scan_scores(directory: Path, columns: Sequence[str], sample_set: str | None = None) -> Iterator[pa.Table]:
    """Read some columns of the score table of a finished run, ``ROWS_AT_ONCE`` rows at a time.

    Args:
        directory: Of the run.
        columns: Which.
        sample_set: Of whose rows all are read, and of others none where that is seen without reading them.

    Raises:
        UserError: As for :func:`read_scores`.
    """
    file = _score_file(directory)
    with _naming(file), open_parquet(file) as stored:
        present = [name for name in columns if name in stored.schema_arrow.names]
        current_columns(
            stored.schema_arrow.empty_table(), columns
        )  # a column that is missing is missing without rows too
        groups = [n for n in range(stored.num_row_groups) if sample_set is None or _may_hold(stored, n, sample_set)]
        for batch in stored.iter_batches(ROWS_AT_ONCE, row_groups=groups, columns=present, use_threads=False):
            require_bytes(file, bytes_of(batch))
            yield current_columns(pa.Table.from_batches([batch]), columns)


def _may_hold(stored: pq.ParquetFile, group: int, sample_set: str) -> bool:
    """Whether a row group may have rows of a sample set, by the bounds that the file keeps of its names."""
    column = stored.metadata.row_group(group).column(stored.schema_arrow.names.index("sample_set"))
    bounds = column.statistics
    return bounds is None or not bounds.has_min_max or bounds.min <= sample_set <= bounds.max


def count_scores(directory: Path) -> int:
    """Rows of the score table of a finished run; errors as for :func:`read_scores`."""
    file = _score_file(directory)
    with _naming(file):
        return int(pq.read_metadata(file).num_rows)


def read_items(directory: Path) -> pa.Table | None:
    """Condition and model of every item of a run; None where an older memdet did not keep them.

    Raises:
        UserError: Damaged.
    """
    file = directory / ITEM_FILE
    if not file.is_file():
        return None
    with _naming(file), open_parquet(file) as stored:
        require_rows(file, stored.metadata.num_rows)
        batches = []
        for batch in stored.iter_batches(ROWS_AT_ONCE, columns=ITEMS.names, use_threads=False):
            require_bytes(file, bytes_of(batch))
            batches.append(pa.Table.from_batches([batch]).cast(ITEMS))
        items = pa.concat_tables([*batches, ITEMS.empty_table()])
        items.validate(full=True)
        if missing := [name for name in ITEMS.names if items[name].null_count]:
            raise ValueError(f"{missing[0]} is missing in a row")
        if (n := len(items.group_by(ITEMS.names[:2]).aggregate([]))) != len(items):
            raise ValueError(f"it has {len(items)} rows of {n} items")
        return items


def current_columns(table: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Columns of a score table of any schema version so far, as this memdet writes them."""
    if "extraction" in columns and "extraction" not in table.column_names:  # schema version 1
        table = table.append_column("extraction", pa.array([math.nan] * len(table), pa.float64()))
    return table.select(columns).cast(pa.schema([SCORES.field(name) for name in columns]))


def write_table(table: pa.Table, path: Path) -> None:
    """Write a Parquet file, all or nothing."""
    write_tables([table], table.schema, path)


def write_tables(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """Write tables one below the other in a Parquet file, all or nothing; ``ROWS_AT_ONCE`` rows are a row group."""
    with replacing(path) as temporary:
        write_groups(tables, schema, temporary)


def write_groups(tables: Iterable[pa.Table], schema: pa.Schema, path: Path) -> None:
    """As :func:`write_tables`, but not all or nothing."""
    with pq.ParquetWriter(path, schema) as writer:
        for group in _in_groups(tables, schema):
            writer.write_table(group)


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


def _score_file(directory: Path) -> Path:
    file = directory / SCORE_FILE
    if not file.is_file():
        lost = f"{SCORE_FILE} is missing, though {FILE} says that it is finished"
        raise unfinished(directory, lost if Manifest.read(directory).finished else "")
    return file


def unfinished(directory: Path, why: str = "") -> UserError:
    """What to say of a run that was interrupted, or lost its scores."""
    told = f" ({why})" if why else ""
    return UserError(f"{directory} holds an unfinished run{told}: resume it with the command in its {FILE}")


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Arrow's and the disk's mistakes as one line that names the file."""
    try:
        yield
    except ARROW_ERRORS as error:
        told = f"{file} is damaged: {(str(error).splitlines() or [type(error).__name__])[0]}"
        raise UserError(f"{told}: {MEND}") from None
