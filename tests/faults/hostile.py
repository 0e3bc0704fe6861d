"""Hostile values, trees, texts, tables and bytes: valid ones that somebody changed in a few places."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

Draw = st.DrawFn
HUGE = 10**4299
"""Python refuses to write it in decimal digits."""
TEXTS = (
    "",
    " ",
    "a\x1b[2J\nb",
    "\0",
    "\ud800",
    "\u202e\u2028\x85",
    "../../etc/passwd",
    "/dev/zero",
    "~nobody-of-that-name/x",
    "%s{0}{x}",
    "x" * 5000,
    "a" * 300 + "/b",
    "१",
    "1e999",
    "None",
    "bf16",
)
NUMBERS = (0, -1, 1, 2, 2**31, 2**63, 2**64, 10**30, 0.5, -0.0, 1e308, float("nan"), float("inf"), -float("inf"))
_deep: Any = []
for _ in range(60):
    _deep = [_deep]
PLAIN = (None, True, False, [], {}, [1], ["a", 1], [None], {"a": [1]}, {"": {}}, [["a"]], [{"a": 1}], _deep, [0] * 2000)

VALUES = st.one_of(
    st.sampled_from([*TEXTS, *NUMBERS, *map(copy.deepcopy, PLAIN)]),
    st.text(max_size=6),
    st.integers(),
    st.floats(),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    ),
)
"""What JSON can say, and numbers that it cannot."""
KEYS = st.sampled_from(["", "a\x1b\n", "__class__", "\ud800", "id ", "ID", "prompt", "_class_name"]) | st.text(
    max_size=5
)
YAML = (
    "!!python/object/apply:os.system ['true']",
    "!!python/name:os.system",
    "!!binary x",
    "!!timestamp x",
    "!!set {a, b}",
    "!!omap [a: 1]",
    "!!pairs [a: 1]",
    "!<tag:x> 1",
    "!x 1",
    "&a [*a]",
    "*x",
    "{<<: 3}",
    "{<<: [1]}",
    "{? [a, b] : 1}",
    "{? {a: b} : 1}",
    "&a {<<: *a}",
    "\t",
    "---\n",
    "...\n",
    "%YAML 9.9\n",
    "0x" + "f" * 5000,
    "0b",
    "1:60:61",
    "-" + "9:" * 50 + "9",
    "9" * 5000,
    ".nan",
    "=",
    "2024-13-40",
    "2024-01-01 25:00:00",
    "0o9",
    "'",
    '"\\x',
    '"\\ud800"',
    "|\n",
    "[" * 300,
    "{a: " * 300,
    "- " * 300,
    "? " * 100,
    "\ufeff",
    "\x00",
    "\x1b",
    "\r",
    "\u2028",
    "- 1\n",
    "&" + "a" * 2000,
    "&a a: &b {c: *a}",
)
JSON = (
    "[" * 3000,
    '{"a":' * 3000,
    "NaN",
    "-Infinity",
    "1e999",
    "9" * 5000,
    '"\\ud800"',
    "\x00",
    "\ufeff",
    ",",
    "}",
    '"',
)
CELLS = ("\n", "\r", '"', '""', ",", ";", "\t", "|", "\0", "\ufeff", "\u2028", "\x1b[2J", "x" * 140_000, "\ud800", " ")
BYTES = (b"", b"\0", b"\xff\xfe", b"\x80", b"PAR1", b"\xff" * 8, b"\x1f\x8b", b"\xef\xbb\xbf", b"\r")


@st.composite
def trees(draw: Draw, tree: Any, values: st.SearchStrategy[Any] = VALUES) -> Any:
    """A tree of mappings and lists with other values, keys less, or keys more, in up to three places."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(0, 3))):
        places = list(_places(tree))
        if not places:
            return draw(values)
        inside, key = places[draw(st.integers(0, len(places) - 1))]
        match draw(st.sampled_from(["value", "value", "value", "lost", "named", "more"])):
            case "value":
                inside[key] = copy.deepcopy(draw(values))
            case "lost":
                del inside[key]
            case "named" if isinstance(inside, dict):
                inside[draw(KEYS)] = inside.pop(key)
            case _ if isinstance(inside, dict):
                inside[draw(KEYS)] = copy.deepcopy(draw(values))
            case _:
                inside.append(copy.deepcopy(inside[key]))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    for key, value in list(tree.items() if isinstance(tree, dict) else enumerate(tree)):
        yield tree, key
        if isinstance(value, dict | list):
            yield from _places(value)


@st.composite
def texts(draw: Draw, text: str, pieces: tuple[str, ...]) -> str:
    """A text with pieces put in, parts cut out, or parts doubled, in up to two places."""
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.sampled_from([0, 0, 1, 5, 40]))
        new = draw(st.sampled_from(pieces) | st.text(max_size=4) | st.just(text[start:end] * 2))
        text = text[:start] + new + text[end:]
    return text


@st.composite
def damaged(draw: Draw, data: bytes, often: bool = False) -> bytes:
    """Bytes with some of them changed, lost or doubled; mostly none of them where that is not to happen often."""
    for _ in range(draw(st.sampled_from([1, 1, 2, 8] if often else [0, 0, 0, 1]))):
        # from the end, where the formats that say what they hold at the end say it
        start = max(0, len(data) - draw(st.integers(0, len(data)))) if data else 0
        end = start + draw(st.sampled_from([0, 1, 1, 1, 4, 100]))
        new = draw(st.sampled_from(BYTES) | st.binary(min_size=1, max_size=2) | st.just(data[start:end] * 2))
        data = data[:start] + new + data[end:]
    return data


@st.composite
def json_bytes(draw: Draw, tree: Any) -> bytes:
    """A JSON file like one that holds a tree."""
    text = json.dumps(draw(trees(tree)), indent=draw(st.sampled_from([None, 1])))
    text = draw(texts(text, JSON)) if draw(st.integers(0, 3)) == 0 else text
    return draw(damaged(text.encode("utf-8", "surrogatepass")))


@st.composite
def columns(draw: Draw, n: int) -> pa.Array:
    """A column of a table that nobody expects."""
    match draw(st.integers(0, 15)):
        case 0:
            return pa.nulls(n)
        case 1:
            return pa.array([draw(st.sampled_from([*TEXTS[:4], *TEXTS[5:]]).filter(_is_text)) for _ in range(n)])
        case 2:
            return pa.array([draw(st.none() | st.text(max_size=3).filter(_is_text)) for _ in range(n)], pa.string())
        case 3:
            return pa.array([[1]] * n)
        case 4:
            return pa.array([{"a": "x"}] * n)
        case 5:
            return pa.array([draw(st.integers(-(2**63), 2**63 - 1)) for _ in range(n)])
        case 6:
            return pa.array([draw(st.sampled_from([2**64 - 1, 2**63, 0])) for _ in range(n)], pa.uint64())
        case 7:
            return pa.array([draw(st.floats()) for _ in range(n)])
        case 8:
            return pa.array([draw(st.binary(max_size=3)) for _ in range(n)], pa.binary())
        case 9:
            numbers = pa.py_buffer(np.arange(n + 1, dtype=np.int32))
            return pa.Array.from_buffers(pa.string(), n, [None, numbers, pa.py_buffer(b"\xff" * n)])
        case 10:
            kinds = [pa.timestamp("ns", "UTC"), pa.timestamp("s"), pa.duration("s"), pa.date64(), pa.time64("ns")]
            kind = draw(st.sampled_from(kinds))
            return pa.array([draw(st.sampled_from([0, 2**62, -(2**62), 1])) for _ in range(n)]).view(kind)
        case 11:
            return pa.array(["a"] * n).dictionary_encode()
        case 12:
            return pa.array([True] * n)
        case 13:
            return pa.array([10**37] * n, pa.decimal128(38, 0))
        case 14:
            return pa.array(np.full(n, np.nan, np.float16))
        case _:
            return pa.array([[("a", 1)]] * n, pa.map_(pa.string(), pa.int64()))


@st.composite
def tables(draw: Draw, table: pa.Table) -> pa.Table:
    """A table with other columns, values, rows or names in up to two places."""
    for _ in range(draw(st.integers(0, 2))):
        index = draw(st.integers(0, max(table.num_columns - 1, 0)))
        if not table.num_columns:
            return table
        name = table.column_names[index]
        match draw(st.sampled_from(["column", "column", "values", "lost", "named", "twice", "rows"])):
            case "column":
                table = table.set_column(index, name, draw(columns(len(table))))
            case "values" if len(table):
                values, row = table[name].to_pylist() if _once(table, name) else [None] * len(table), -1
                values[draw(st.integers(0, len(table) - 1))] = draw(st.sampled_from([None, values[row]]))
                table = table.set_column(index, name, pa.array(values, table.schema.field(index).type))
            case "lost":
                table = table.remove_column(index)
            case "named":
                names = [*table.column_names]
                names[index] = draw(KEYS.filter(_is_text))
                table = table.rename_columns(names)
            case "twice":
                table = table.append_column(name, table.column(index))
            case _:
                rows = draw(st.lists(st.integers(0, max(len(table) - 1, 0)), max_size=12)) if len(table) else []
                table = table.take(pa.array(rows, pa.int64()))
    return table


@st.composite
def parquet_bytes(draw: Draw, table: pa.Table) -> bytes:
    """A Parquet file like one that holds a table."""
    changed, buffer = draw(tables(table)), io.BytesIO()
    try:
        pq.write_table(changed, buffer)
    except (pa.ArrowException, ValueError):  # that Parquet cannot hold
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
    return draw(damaged(buffer.getvalue(), often=draw(st.booleans())))


def _is_text(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _once(table: pa.Table, name: str) -> bool:
    return table.column_names.count(name) == 1
