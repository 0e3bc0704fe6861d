"""The one reader of prompt files: text, CSV, TSV, Parquet, JSON Lines or a JSON list, with labels or without."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memdet.errors import UserError
from memdet.given_files import LARGEST_JSON, LARGEST_TABLE, read_given, require_rows
from memdet.io_utils import printable
from memdet.samplesets.fetch import Fetcher
from memdet.samplesets.file_formats import (
    RawTable,
    header_of_csv,
    header_of_parquet,
    parse_json_items,
    parse_json_lines,
    read_table,
    separator_of,
)
from memdet.samplesets.hub_prompts import is_data_set, open_split
from memdet.samplesets.items import check_label, shown
from memdet.samplesets.spec import label_text
from memdet.samplesets.strict_yaml import decode, nearest

SUFFIXES = (".txt", ".csv", ".jsonl", ".parquet", ".tsv", ".json")
SPELLINGS = {
    "prompt": ("prompt", "caption", "text"),
    "label": ("memorized", "label"),
    "id": ("id", "item_id"),
    "cluster": ("cluster",),
    "stratum": ("stratum",),
    "extraction": ("extraction_rate", "extraction"),
}
"""Names of a column or key, in any case, for each of memdet's own; the first that a file has is taken."""
_OPTIONAL = ("id", "cluster", "stratum")
_WRITE = 'write {"prompt": "...", "memorized": 0 or 1}'
_NO_LABELS = (
    "has no labels, which `memdet run` needs: add a column or key 'memorized', 1 or 0; prompts without labels are for "
    "`memdet scan`"
)
_Row = tuple[int, dict[str, Any]]  # its number in the file, and what it holds by the file's own names


@dataclass(frozen=True)
class PromptTable:
    """What a file of prompts says, checked.

    Attributes:
        table: Columns ``prompt`` (text), ``label`` (0 or 1) where labels were wanted, those that were wanted of ``id``,
            ``cluster`` and ``stratum`` (text, or None where a row gives none), ``extraction`` (a share, or NaN), and
            further columns as they are.
        sha256: Of the file.
        names: All columns or keys of the file.
        used: Those of them that were read.
    """

    table: RawTable
    sha256: str
    names: tuple[str, ...] = ()
    used: tuple[str, ...] = ()

    @property
    def not_read(self) -> tuple[str, ...]:
        """Columns or keys that say nothing to memdet."""
        return tuple(name for name in self.names if name not in self.used)


@dataclass(frozen=True)
class Wanted:
    """What is to be read of a file beside the prompts.

    Attributes:
        column: Of the prompts; found by its usual names if not given.
        separator: Of a CSV file; found out from its first line if not given.
        labels: Whether every row must have one.
        optional: Which of ``id``, ``cluster``, ``stratum`` and ``extraction`` are taken where they are there.
        others: Further columns by their exact names, which must be there and are not checked.
    """

    column: str | None = None
    separator: str | None = None
    labels: bool = False
    optional: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


def read_prompt_table(
    path: Path, wanted: Wanted, data: bytes | None = None, *, fetcher: Fetcher | None = None
) -> PromptTable:
    """Read a file of prompts.

    The suffix names the format: ``.txt`` (a prompt a line, blank lines aside), ``.csv`` (comma, semicolon, tab or bar,
    as the first line says), ``.tsv``, ``.parquet``, ``.jsonl`` (an object a line) or ``.json`` (a list of texts or of
    objects). A data set of the hub is a table too, ``owner/name`` or ``owner/name:split``, where no file has that name
    (:mod:`~memdet.samplesets.hub_prompts`).

    Prompts are the column or key ``prompt``, else ``caption``, else ``text``, in any case; which was taken is said on
    standard error where a file has several of them. Labels are ``memorized`` or ``label``.

    Args:
        path: Names the format by its suffix.
        wanted: What to read.
        data: Content of the file, where it is known.
        fetcher: Where data sets of the hub may come from; the hub and its cache if not given.

    Raises:
        UserError: Unknown format, damaged file, no prompts, no labels where they are wanted, or a row with a mistake.
    """
    is_of_hub = data is None and is_data_set(path, SUFFIXES)
    suffix = path.suffix.lower()
    if data is None:
        data = b"" if is_of_hub else read_given(path, LARGEST_JSON if suffix == ".json" else LARGEST_TABLE)
    if is_of_hub:
        found = _of_hub(path, wanted, fetcher or Fetcher())
    elif suffix not in SUFFIXES:
        raise UserError(
            f"{path}: unknown format {path.suffix!r}; convert it to one of {', '.join(SUFFIXES)}; the easiest to write "
            "are .txt, .jsonl or .csv"
        )
    elif suffix == ".txt":
        found = _of_text(path, data, wanted)
    elif suffix in (".json", ".jsonl"):
        found = _of_json(path, data, wanted, lines=suffix == ".jsonl")
    else:
        found = _of_columns(path, data, wanted)
    table, columns = found.table, found.table.columns
    if not columns["prompt"]:
        raise UserError(f"{path} holds no prompts; write one a line or row")
    for index, prompt in enumerate(columns["prompt"]):
        _check_prompt(prompt, table, index)
        if not wanted.labels:  # what has labels becomes items, whose characters are checked there
            _check_letters(prompt, "the prompt", table, index)
    for name in _OPTIONAL:
        if name in columns:
            columns[name] = [_name(value, name, table, index) for index, value in enumerate(columns[name])]
    if "extraction" in columns:
        columns["extraction"] = [_share(value, table.where(index)) for index, value in enumerate(columns["extraction"])]
    return found


def _of_text(path: Path, data: bytes, wanted: Wanted) -> PromptTable:
    for name in (wanted.column, *wanted.others):
        if name is not None:
            raise UserError(f"{path} is a text file, a prompt a line, and has no column {name!r}")
    lines = [(number, line.strip()) for number, line in enumerate(_text(data, path).split("\n"), start=1)]
    kept = [(number, line) for number, line in lines if line]
    require_rows(path, len(kept))
    if wanted.labels and kept:
        raise UserError(f"{path} {_NO_LABELS}")
    table = RawTable(path, {"prompt": [line for _, line in kept]}, [number for number, _ in kept])
    return PromptTable(table, hashlib.sha256(data).hexdigest())


def _of_columns(path: Path, data: bytes, wanted: Wanted) -> PromptTable:
    """A file that says its columns before its rows."""
    if path.suffix.lower() == ".parquet":
        separator, names = ",", header_of_parquet(path, data)
    else:
        text = _text(data, path)
        separator = wanted.separator or ("\t" if path.suffix.lower() == ".tsv" else separator_of(text))
        names = header_of_csv(path, text, separator)
    sha256 = hashlib.sha256(data).hexdigest()
    return _of_table(path, names, wanted, lambda chosen: (read_table(path, data, chosen, separator), sha256))


def _of_hub(path: Path, wanted: Wanted, fetcher: Fetcher) -> PromptTable:
    """A split of a data set of the hub, which says its columns before its rows too."""
    split = open_split(str(path), offline=fetcher.offline)
    for remark in split.remarks:
        _say(remark)
    return _of_table(path, split.names, wanted, split.read)


def _of_table(
    path: Path, names: Sequence[str], wanted: Wanted, rows: Callable[[list[str]], tuple[RawTable, str]]
) -> PromptTable:
    """What is wanted of a table of these columns; ``rows`` reads some of them, and says a checksum."""
    chosen = _chosen(path, names, wanted, "column")
    read, sha256 = rows([*chosen.values(), *wanted.others])
    columns = {name: read.columns[name] for name in wanted.others}
    columns |= {name: list(read.columns[column]) for name, column in chosen.items()}
    table = RawTable(path, columns, read.lines, read.unit)
    if wanted.labels:
        columns["label"] = [
            _label(value, chosen["label"], table.where(index)) for index, value in enumerate(columns["label"])
        ]
    used = (*chosen.values(), *wanted.others)
    return PromptTable(table, sha256, tuple(dict.fromkeys(names)), used)


def _of_json(path: Path, data: bytes, wanted: Wanted, *, lines: bool) -> PromptTable:
    """Objects. The first says the names of prompts and labels; keys that may be left out are looked for in each."""
    unit, rows = _json_rows(path, data, lines=lines)
    columns: dict[str, list[Any]] = {}
    names, used = dict[str, None](), dict[str, None]()
    numbers: list[int] = []
    chosen: dict[str, str] = {}
    for number, row in rows:
        where = f"{path}, {unit} {number}"
        if not numbers:
            chosen = _chosen(where, list(row), wanted, "key")
            columns = {name: [] for name in (*wanted.others, *chosen, *wanted.optional)}
        names |= dict.fromkeys(row)
        for name in (*wanted.others, *(chosen[own] for own in ("prompt", "label") if own in chosen)):
            if name not in row:
                raise UserError(f"{where}: key {name!r} is missing; {_explained(row, name, wanted)}")
        of_row = chosen | _spelled(row, wanted.optional)
        used |= dict.fromkeys(of_row.values())
        for name in wanted.others:
            columns[name].append(row[name])
        for name in ("prompt", *wanted.optional):
            columns[name].append(row[of_row[name]] if name in of_row else None)
        if wanted.labels:
            check_label(row[chosen["label"]], chosen["label"], where)
            columns["label"].append(row[chosen["label"]])
        numbers.append(number)
    table = RawTable(path, columns or {"prompt": []}, numbers, unit)
    return PromptTable(table, hashlib.sha256(data).hexdigest(), tuple(names), (*used, *wanted.others))


def _json_rows(path: Path, data: bytes, *, lines: bool) -> tuple[str, Iterable[_Row]]:
    """What a row is called, and the rows of JSON Lines or of a list; a file ``.json`` may hold either."""
    text = _text(data, path)
    if lines or text.lstrip().startswith("{"):
        return "line", enumerate(parse_json_lines(path, data), start=1)
    return "item", _items(path, parse_json_items(path, text))


def _items(path: Path, items: Sequence[Any]) -> Iterator[_Row]:
    for number, item in enumerate(items, start=1):
        if isinstance(item, dict):
            yield number, item
        elif isinstance(item, str):
            yield number, {"prompt": item}
        else:
            raise UserError(f"{path}, item {number}: {shown(item)} is no prompt; write text in quotes, or an object")


def _chosen(where: Path | str, names: Sequence[str], wanted: Wanted, kind: str) -> dict[str, str]:
    """The file's name for the prompts, for the labels if wanted, and for what else it has of what is wanted.

    Args:
        where: The file, or the place in it.
        names: That it has.
        wanted: What is looked for.
        kind: ``column`` or ``key``.

    Raises:
        UserError: There are no prompts, or no labels, or two columns of labels.
    """
    if wanted.column is not None and wanted.column in names:
        chosen = {"prompt": wanted.column}
    elif wanted.column is None and (found := _matching("prompt", names)):
        chosen = {"prompt": found[0]}
        if len(found) > 1:
            others = " or ".join(repr(name) for name in found[1:])
            _say(f"{where}: prompts are those of {kind} {found[0]!r}, not of {others}")
    else:
        missing = wanted.column or "prompt"
        advice = _columns_explained(names) if kind == "column" else _explained(names, missing, wanted)
        raise UserError(f"{where}: {kind} {missing!r} is missing; {advice}", parameters=("column",))
    if wanted.labels:
        labels = _matching("label", names)
        if not labels:
            near = nearest("memorized", names, "")
            raise UserError(f"{where} {_NO_LABELS}{f'; {near}' if near else ''}")
        if len(labels) > 1:
            raise UserError(f"{where} has {labels[0]!r} and {labels[1]!r}, which mean one thing; remove one")
        chosen["label"] = labels[0]
    return chosen | (_spelled(names, wanted.optional) if kind == "column" else {})


def _spelled(names: Iterable[str], wanted: Sequence[str]) -> dict[str, str]:
    """The file's name for each of the optional columns that it has."""
    return {own: found[0] for own in wanted if (found := _matching(own, names))}


def _matching(own: str, names: Iterable[str]) -> list[str]:
    """The names that mean one of memdet's own, the best first; the exact spelling goes before another case."""
    found = []
    for spelling in SPELLINGS[own]:
        alike = [name for name in dict.fromkeys(names) if name.strip().lower() == spelling]
        found += sorted(alike, key=lambda name: name != spelling)
    return found


def _columns_explained(names: Sequence[str]) -> str:
    usual = ", ".join(SPELLINGS["prompt"])
    near = nearest("prompt", names, "")
    return (
        f"{'' if names else 'the file holds no prompts: '}the first line has columns {_listed(names)} and none is "
        f"named {usual}{f' ({near})' if near else ''}; rename one, or name the right one as `column`"
    )


def _explained(names: Iterable[str], missing: str, wanted: Wanted) -> str:
    """How to mend a key that is missing."""
    names = list(names)
    how = _WRITE if wanted.labels else 'write {"prompt": "..."}'
    return f"{nearest(missing, names, f'it has {_listed(names)}.')} {how}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name)[:40] for name in names[:12]) or "none"


def _check_prompt(prompt: object, table: RawTable, index: int) -> None:
    if not (isinstance(prompt, str) and prompt.strip()):
        raise UserError(
            f"{table.where(index)}: the prompt is empty or not text: prompt is {shown(prompt)}; write text in quotes "
            "that is not empty, or remove the row"
        )


def _check_letters(text: str, name: str, table: RawTable, index: int) -> None:
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise UserError(f"{table.where(index)}: {name} holds half a surrogate pair; write whole characters")


def _name(value: object, name: str, table: RawTable, index: int) -> str | None:
    """An id, cluster or stratum as text; None for a gap. A whole number is one, also as the decimal of a column."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return None
    number = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not (number or isinstance(value, str)):
        raise UserError(
            f"{table.where(index)}: {name} is {shown(value)}; write text or a whole number, or leave it out"
        )
    text = label_text(value)
    _check_letters(text, name, table, index)
    return text


def _share(value: object, where: str) -> float:
    """A measured extraction rate, of a column its text; NaN for a gap."""
    if value is None or value != value or (isinstance(value, str) and not value.strip()):
        return math.nan
    try:
        share = math.nan if isinstance(value, bool) else float(str(value))
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise UserError(f"{where}: the extraction rate is {shown(value)}; write a share from 0 to 1, or leave it out")
    return share


def _label(value: Any, name: str, where: str) -> int:
    """A label of a column: the number 0 or 1, as text or as the decimal that a gap in the column made of it."""
    if isinstance(value, str) and value.strip() in ("0", "1", "0.0", "1.0"):
        return int(float(value))
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    check_label(value, name, where)
    return int(value)


def _text(data: bytes, path: Path) -> str:
    text = decode(data, path)
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise UserError(f"{path}, line {line}: a zero byte is no text; save the file as UTF-8")
    return text


def say_not_read(found: PromptTable) -> None:
    """Say on standard error which columns or keys of a file with labels are not read: one may be misspelt."""
    if found.not_read:
        _say(f"{found.table.path}: not read: {', '.join(map(json.dumps, found.not_read[:12]))}")


def _say(text: str) -> None:
    print(printable(f"memdet: {text}"), file=sys.stderr)
