"""Reads Parquet, CSV, TSV and JSON into columns that know their line numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memdet.errors import UserError
from memdet.given_files import open_parquet, read_columns, require_rows
from memdet.samplesets.strict_yaml import decode, first_line, nearest

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}


@dataclass(frozen=True)
class RawTable:
    """Columns of a data file, and where each of its rows stands.

    Attributes:
        path: The file, or words for what is none.
        columns: Values by column.
        lines: Line (or row) number of each row.
        unit: ``line`` or ``row``.
    """

    path: Path | str
    columns: dict[str, list[Any]]
    lines: Sequence[int]
    unit: str = "line"

    def where(self, index: int) -> str:
        """File and line of a row."""
        return f"{self.path}, {self.unit} {self.lines[index]}"


def read_table(path: Path, data: bytes, columns: Sequence[str], separator: str = ",") -> RawTable:
    """Read some columns of a data file.

    Args:
        path: Names the format by its suffix.
        data: Content of the file.
        columns: Which to read.
        separator: Between the fields of a CSV or TSV file.

    Raises:
        UserError: Unknown format, damaged file, or missing column.
    """
    wanted = list(dict.fromkeys(columns))
    match path.suffix.lower():
        case ".parquet":
            return _read_parquet(path, data, wanted)
        case ".csv" | ".tsv":
            return _read_csv(path, data, wanted, separator)
        case ".jsonl":
            return _read_jsonl(path, data, wanted)
        case suffix:
            raise UserError(f"{path}: unknown format {suffix!r}; convert it to one of .parquet, .csv, .jsonl")


def parse_json_lines(path: Path, data: bytes) -> Iterator[dict[str, Any]]:
    """Objects of a JSON Lines file, one after the other; empty lines are allowed at the end only.

    Raises:
        UserError: Naming the line that is not an object, when its turn comes.
    """
    text = decode(data, path).rstrip()
    if not text:
        raise UserError(f"{path} holds no items; write one JSON object a line")
    start, number = 0, 1
    while start <= len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        require_rows(path, number)
        yield _parse_line(text[start:end], f"{path}, line {number}")
        start, number = end + 1, number + 1


def parse_json_items(path: Path, text: str) -> list[Any]:
    """Items of a JSON file that holds a list.

    Raises:
        UserError: It is no JSON, or no list.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique) if text.strip() else []
    except json.JSONDecodeError as error:
        raise UserError(
            f"{path}, line {error.lineno}: invalid JSON: {error.msg} at column {error.colno}; write a list of prompts, "
            "[...], or one object a line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: invalid JSON: {first_line(error)}; correct the file") from None
    if not isinstance(value, list):
        raise UserError(f"{path}: expected a JSON list of prompts, [...], found {json.dumps(value)[:40]}")
    return value


def separator_of(text: str) -> str:
    """What stands between the fields of a CSV file: what makes the most columns of its first line, else a comma."""
    line = text.lstrip("\r\n").partition("\n")[0]
    try:
        return max(",;\t|", key=lambda separator: len(next(csv.reader([line], delimiter=separator), [])))
    except csv.Error:  # which the reader of the table explains
        return ","


def header_of_csv(path: Path, text: str, separator: str) -> list[str]:
    """Names of the columns of a CSV or TSV file: its first line that is not blank.

    Raises:
        UserError: It is damaged.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        return next((row for row in reader if row), [])
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: invalid CSV: {first_line(error)}; correct the line") from None


def header_of_parquet(path: Path, data: bytes) -> list[str]:
    """Names of the columns of a Parquet file.

    Raises:
        UserError: It is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        return list(pyarrow.parquet.read_schema(pyarrow.BufferReader(data)).names)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {first_line(error)}; write it again") from None


def _parse_line(line: str, where: str) -> dict[str, Any]:
    if not line.strip():
        raise UserError(f"{where}: the line is blank; remove it")
    try:
        value = json.loads(line, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise UserError(
            f"{where}: invalid JSON: {error.msg} at column {error.colno}; write one object a line"
        ) from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where}: invalid JSON: {first_line(error)}; correct the line") from None
    if not isinstance(value, dict):
        raise UserError(f"{where}: expected a JSON object in braces, found {json.dumps(value)[:40]}")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} is given twice")
        found[key] = value
    return found


def _read_parquet(path: Path, data: bytes, columns: list[str]) -> RawTable:
    import pyarrow
    import pyarrow.parquet

    try:
        file = open_parquet(io.BytesIO(data))
        _require(path, columns, file.schema_arrow.names)
        values = read_columns(path, file, columns)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path} is not a readable Parquet file: {first_line(error)}; write it again") from None
    return RawTable(path, values, range(1, file.metadata.num_rows + 1), "row")


def _read_csv(path: Path, data: bytes, columns: list[str], separator: str) -> RawTable:
    """Rows of text: nothing is guessed, so a prompt ``None`` and an id ``007`` stay what they are."""
    text = io.StringIO(decode(data, path).rstrip("\r\n"), newline="")
    reader = csv.reader(text, delimiter=separator, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        header = next((row for row in reader if row), [])
        _require(path, columns, header)
        for row in reader:
            require_rows(path, len(rows) + 1)
            if len(row) != len(header):
                what = f"{len(row)} fields where the header has {len(header)}"
                how = f"put fields that contain {_SEPARATORS.get(separator, 'separators')} in quotes"
                blank = "" if row else "remove the blank line, or "
                raise UserError(f"{path}, line {reader.line_num}: {what}; {blank}{how}")
            rows.append(row)
            lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: invalid CSV: {first_line(error)}; correct the line") from None
    positions = {name: header.index(name) for name in columns}
    return RawTable(path, {name: [row[index] for row in rows] for name, index in positions.items()}, lines)


def _read_jsonl(path: Path, data: bytes, columns: list[str]) -> RawTable:
    values: dict[str, list[Any]] = {name: [] for name in columns}
    number = 0
    for number, row in enumerate(parse_json_lines(path, data), start=1):
        _require(f"{path}, line {number}", columns, list(row))
        for name, column in values.items():
            column.append(row[name])
    return RawTable(path, values, range(1, number + 1))


def _require(where: Path | str, columns: list[str], present: list[str]) -> None:
    for column in columns:
        if column not in present:
            hint = nearest(column, present, f"it has {' '.join(', '.join(present).split()) or 'none'}.")
            raise UserError(f"{where}: column {column!r} is missing; {hint} Correct columns in the spec, or the file")
        if present.count(column) > 1:
            raise UserError(f"{where}: column {column!r} is there twice; rename one")
