"""The tables of ``memdet bench``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memdet.benching.interleaved import Spread
from memdet.benching.throughput import Compared, Throughput
from memdet.errors import UserError
from memdet.io_utils import json_text
from memdet.tables.formats import markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.numbers import UNDEFINED, bounded, defined, quantity
from memdet.tables.table import Block, Table, left, right

SCHEMA_VERSION = 1
Row = dict[str, Any]
LEGEND = (
    "F, JVP, VJP: network evaluations per item. items / s: median of the rounds, with quartiles. Loading, text "
    "encoders and the work that all batches of a seed share are not timed. evaluations / s: items / s times the "
    "evaluations per item. efficiency: the time of the same network calls made with nothing around them, divided by "
    "the time of the detector. in forwards: the time of the detector, divided by the time of one bare forward of the "
    "batch. peak: memory of a process that loads the model and scores one batch twice; on the CPU it includes the "
    "libraries, on CUDA it is what torch's allocator gave out."
)
_COLUMNS = (
    *left("detector"),
    *right("batch", drop=8),
    *right("F", "JVP", "VJP", drop=3, best="low"),
    *right("items / s"),
    *right("evaluations / s", drop=2),
    *right("efficiency", drop=7, brief="efficiency"),
    *right("in forwards", drop=6, brief="in forwards", best="low"),
    *right("peak", drop=5, best="low"),
)


def throughput_rows(found: Sequence[Throughput], machine: Mapping[str, Any]) -> list[Row]:
    """A row a detector and batch size.

    Args:
        found: What was measured.
        machine: As :func:`memdet.running.description.describe_machine` tells it; becomes part of every row.
    """
    return [_row(one) | {"machine": dict(machine)} for one in found]


def _row(one: Throughput) -> Row:
    measured = bool(one.seconds)
    rate, efficiency = (one.items_per_second, one.efficiency) if measured else (None, None)
    forwards = one.forward_equivalents if measured else None
    rows = {
        kind: sum(call.rows for call in one.calls if call.kind == kind) for kind in ("forward", "graph", "jvp", "vjp")
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "detector": one.detector,
        "model": one.model,
        "device": one.device,
        "dtype": one.dtype,
        "batch_size": one.batch_size,
        "noise": one.noise,
        "accelerate": one.accelerate,
        "items_per_second": rate.median if rate else None,
        "items_per_second_q1": rate.q1 if rate else None,
        "items_per_second_q3": rate.q3 if rate else None,
        "rounds": len(one.seconds),
        "forwards_per_second": one.evaluations_per_second if measured else None,
        "efficiency": efficiency.median if efficiency else None,
        "efficiency_low": defined(efficiency.low) if efficiency else None,
        "efficiency_high": defined(efficiency.high) if efficiency else None,
        "forward_equivalents": forwards.median if forwards else None,
        "forward_equivalents_low": defined(forwards.low) if forwards else None,
        "forward_equivalents_high": defined(forwards.high) if forwards else None,
        "peak_memory_bytes": one.peak_memory,
        "measured": measured,
        "forwards": (rows["forward"] + rows["graph"]) / one.batch_size if measured else None,
        "jvps": rows["jvp"] / one.batch_size if measured else None,
        "vjps": rows["vjp"] / one.batch_size if measured else None,
        "seconds": one.seconds,
        "bare_seconds": one.bare,
        "forward_seconds": one.forward,
        "first_call_seconds": defined(one.first_call_seconds),
        "load_seconds": defined(one.load_seconds),
        "embed_seconds": defined(one.embed_seconds),
        "compile_seconds": defined(one.compile_seconds),
        "device_state": one.device_state,
        "status": one.status,
        "message": one.message,
    }


def throughput_table(rows: Sequence[Row], form: str) -> str:
    """Rows as text.

    Args:
        rows: From :func:`throughput_rows`.
        form: A key of ``FORMATS``.
    """
    return FORMATS[form](rows)


def compared_row(one: Compared, machine: Mapping[str, Any]) -> Row:
    """Two arms as one object."""
    found = one.ratio
    return {
        "schema_version": SCHEMA_VERSION,
        "first": one.first,
        "second": one.second,
        "model": one.model,
        "device": one.device,
        "dtype": one.dtype,
        "batch_size": one.batch_size,
        "noise": one.noise,
        "accelerate": one.accelerate,
        "ratio": found.median,
        "ratio_low": defined(found.low),
        "ratio_high": defined(found.high),
        "rounds": len(one.first_seconds),
        "first_seconds": one.first_seconds,
        "second_seconds": one.second_seconds,
        "measured": True,
        "machine": dict(machine),
    }


def compared_text(row: Row) -> str:
    """A line or two for a person."""
    milliseconds = [1_000 * Spread.of(row[f"{arm}_seconds"]).median / row["batch_size"] for arm in ("first", "second")]
    width = max(len(row["first"]), len(row["second"]))
    return (
        f"{row['model']}, {row['device']}, {row['dtype']}, batch {row['batch_size']}, {row['noise']} noise,"
        f" {row['rounds']} interleaved rounds\n"
        f"{row['first']:{width}}  {milliseconds[0]:.3f} ms / item\n"
        f"{row['second']:{width}}  {milliseconds[1]:.3f} ms / item\n"
        f"{row['first']} takes {_with_interval(row, 'ratio', 3)} times as long as {row['second']}"
        " (median of the rounds' ratios, 95 % interval)."
    )


def read_throughput(rows: Any, where: str) -> list[Row]:
    """Rows that ``memdet bench --format json`` wrote.

    Args:
        rows: Content of the JSON file.
        where: The file, for errors.

    Raises:
        UserError: It is something else, or of a later version.
    """
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "efficiency" in row for row in rows):
        raise UserError(f"{where} does not hold rows of memdet bench as JSON (a comparison is a single ratio)")
    if any(row.get("schema_version", 0) > SCHEMA_VERSION for row in rows):
        raise UserError(f"{where} was written by a later memdet")
    return rows


def _to_csv(rows: Sequence[Row]) -> str:
    simple = [key for key in (rows[0] if rows else {}) if not isinstance(rows[0][key], (list, dict))]
    return to_csv(rows, simple)


def _tables(rows: Sequence[Row]) -> list[Table]:
    """A table a model, machine and way of calling it."""
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        machine = row["machine"]
        switch = "" if row["accelerate"] == "off" else f", {row['accelerate']}"
        title = (
            f"{row['model']}, {row['dtype']}, {row['noise']} noise{switch}: {row['device']},"
            f" {machine['processor']}, {machine['threads']} threads, torch {machine['packages']['torch']}"
        )
        groups.setdefault(title, []).append(_cells(row))
    return [Table(_COLUMNS, cells, title) for title, cells in groups.items()]


def _cells(row: Row) -> list[str]:
    if not row["measured"]:
        return [row["detector"], str(row["batch_size"]), *[UNDEFINED] * 3, row["status"], *[UNDEFINED] * 4]
    return [
        row["detector"],
        str(row["batch_size"]),
        *(f"{row[name]:.4g}" for name in ("forwards", "jvps", "vjps")),
        bounded(quantity(row["items_per_second"]), row["items_per_second_q1"], row["items_per_second_q3"], quantity),
        quantity(row["forwards_per_second"]),
        _with_interval(row, "efficiency", 3),
        _with_interval(row, "forward_equivalents", 2),
        UNDEFINED if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 1e9:.2f} GB",
    ]


def _with_interval(row: Row, name: str, places: int) -> str:
    if row[name] is None:
        return UNDEFINED
    form = f"{{:.{places}f}}".format
    return bounded(form(row[name]), row[f"{name}_low"], row[f"{name}_high"], form)


def _blocks(rows: Sequence[Row]) -> list[Block]:
    return [*_tables(rows), *(f"{row['detector']}: {row['message']}" for row in rows if row["message"]), LEGEND]


def _to_pytest_benchmark(rows: Sequence[Row]) -> str:
    from memdet.benching.benchmark_json import benchmark_json

    return benchmark_json(rows)


FORMATS: dict[str, Callable[[Sequence[Row]], str]] = {
    "table": lambda rows: text.on_screen(_blocks(rows)),
    "markdown": lambda rows: markdown.document(_blocks(rows)),
    "csv": _to_csv,
    "json": lambda rows: json_text(rows, indent=1),
    "pytest-benchmark": _to_pytest_benchmark,
}
