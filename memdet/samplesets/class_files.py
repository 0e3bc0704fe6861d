"""Prompts from files that hold one class each: text, CSV, JSON Lines or Parquet."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path

from memdet.errors import UserError
from memdet.samplesets.fetch import Fetcher
from memdet.samplesets.file_formats import RawTable, parse_json_lines, read_table
from memdet.samplesets.spec import FilesSource, Part
from memdet.samplesets.strict_yaml import decode, first_line

USUAL = ("prompt", "caption", "text")


def read_class_files(source: FilesSource, spec_path: Path, fetcher: Fetcher) -> tuple[RawTable, str]:
    """Read the parts of a sample set one below the other.

    An id is the part's name and the number of the prompt in it. Clusters are families of near-duplicates among all
    prompts (:func:`memdet.samplesets.near_duplicates.near_duplicates`), joined with those of the parts' own columns.

    Args:
        source: From the spec.
        spec_path: The spec file, from which local paths start and which errors name.
        fetcher: Where remote files may come from.

    Returns:
        A table with the columns ``id, prompt, part, cluster, stratum``, and a SHA-256 over those of the files.

    Raises:
        UserError: A file is missing or not the one that the spec means, or holds another number of prompts.
    """
    from memdet.samplesets.near_duplicates import near_duplicates

    rows: list[tuple[str, str, str, str]] = []
    known: list[str] = []
    hashes = []
    for part in source.parts:
        path, data, sha256 = fetcher.read(part.source, spec_path)
        hashes.append(sha256)
        table = read_prompts(path, data, part.prompt, part.separator, [*filter(None, [part.cluster, part.stratum])])
        prompts = table.columns["prompt"]
        if len(prompts) != part.items:
            raise UserError(f"{path} holds {len(prompts)} prompts, {spec_path} says {part.items} for {part.name!r}")
        clusters = table.columns[part.cluster] if part.cluster else None
        for index, (prompt, stratum) in enumerate(zip(prompts, _strata(part, table), strict=True)):
            name = f"{part.name}-{index + 1:05d}"
            known.append(f"column {clusters[index]}" if clusters else f"item {name}")
            rows.append((name, prompt, part.name, stratum))
    columns = {name: [row[place] for row in rows] for place, name in enumerate(("id", "prompt", "part", "stratum"))}
    families = near_duplicates(columns["prompt"], known=known)
    columns["cluster"] = [f"family-{number:05d}" for number in families.tolist()]
    combined = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return RawTable(spec_path, columns, range(1, len(rows) + 1), "item"), combined


def read_prompts(
    path: Path, data: bytes, column: str | None = None, separator: str | None = None, others: list[str] | None = None
) -> RawTable:
    """Read the prompts of a file: lines of ``.txt``, a column of ``.csv``, ``.jsonl`` or ``.parquet``.

    Args:
        path: Names the format by its suffix.
        data: Content of the file.
        column: Of the prompts; if not given it is ``prompt``, ``caption`` or ``text`` in any case, or the only one.
        separator: Of a CSV file; found out from its first line if not given.
        others: Further columns to keep.

    Returns:
        A table with ``prompt`` and the further columns; blank lines of a text file are left out.

    Raises:
        UserError: Unknown format, damaged file, no column of prompts, no prompts, or one that is empty.
    """
    suffix = path.suffix.lower()
    if suffix == ".txt":
        for name in [column, *(others or [])]:
            if name is not None:
                raise UserError(f"{path} is a text file, a prompt a line, and has no column {name!r}")
        lines = [(number, line.strip()) for number, line in enumerate(decode(data, path).split("\n"), start=1)]
        kept = [(number, line) for number, line in lines if line]
        table = RawTable(path, {"prompt": [line for _, line in kept]}, [number for number, _ in kept])
    else:
        if suffix == ".csv":
            separator = separator or _separator(decode(data, path))
        column = column or _column(path, data, suffix, separator or ",")
        found = read_table(path, data, [column, *(others or [])], separator or ",")
        columns = {name: found.columns[name] for name in others or []} | {"prompt": found.columns[column]}
        table = RawTable(path, columns, found.lines, found.unit)
    for index, prompt in enumerate(table.columns["prompt"]):
        if not (isinstance(prompt, str) and prompt.strip()):
            raise UserError(f"{table.where(index)}: the prompt is empty or not text; fill it or remove the row")
        if any("\ud800" <= letter <= "\udfff" for letter in prompt):
            raise UserError(f"{table.where(index)}: the prompt holds half a surrogate pair; write whole characters")
    if not table.columns["prompt"]:
        raise UserError(f"{path} holds no prompts; write one a line or row")
    return table


def _strata(part: Part, table: RawTable) -> Iterator[str]:
    n = len(table.columns["prompt"])
    if part.stratum is not None:
        return iter(str(value) for value in table.columns[part.stratum])
    if part.strata is None:
        return iter([part.name] * n)
    return iter([of.name for of in part.strata for _ in range(of.rows[0], of.rows[1] + 1)])


def _separator(text: str) -> str:
    header = text.lstrip("\r\n").partition("\n")[0]
    try:
        return csv.Sniffer().sniff(header, delimiters=",;\t|").delimiter
    except csv.Error:  # one column
        return ","


def _column(path: Path, data: bytes, suffix: str, separator: str) -> str:
    """The column of the prompts, by its usual names."""
    names = _names(path, data, suffix, separator)
    for usual in USUAL:
        for name in names:
            if name.strip().lower() == usual:
                return name
    if len(names) == 1:
        return names[0]
    shown = ", ".join(repr(name)[:40] for name in names[:12]) or "none"
    raise UserError(
        f"{path} has columns {shown} and none is named {', '.join(USUAL)}; name the right one as `column`",
        parameters=("column",),
    )


def _names(path: Path, data: bytes, suffix: str, separator: str) -> list[str]:
    match suffix:
        case ".csv":
            try:
                return next(csv.reader(io.StringIO(decode(data, path), newline=""), delimiter=separator), [])
            except csv.Error as error:
                raise UserError(f"{path}, line 1: invalid CSV: {first_line(error)}; correct the line") from None
        case ".jsonl":
            return list(next(parse_json_lines(path, data)))
        case ".parquet":
            import pyarrow
            import pyarrow.parquet

            try:
                return list(pyarrow.parquet.read_schema(pyarrow.BufferReader(data)).names)
            except (pyarrow.ArrowException, OSError, ValueError) as error:
                raise UserError(f"{path} is not a readable Parquet file: {first_line(error)}; write it again") from None
        case _:
            raise UserError(f"{path}: unknown format {suffix!r}; convert it to one of .txt, .csv, .jsonl, .parquet")
