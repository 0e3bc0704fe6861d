"""The tables of ``memdet bench``."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memdet.benching.interleaved import Spread
from memdet.benching.throughput import Compared, Throughput
from memdet.errors import UserError
from memdet.tables.run_table import markdown_line

SCHEMA_VERSION = 1
Row = dict[str, Any]
LEGEND = (
    "items / s: median of the rounds and its quartiles; what all batches of a seed share, loading and text encoders "
    "are left out. Efficiency: time of the same network calls with nothing around them over time of the detector. In "
    "forwards: time in units of a bare forward of the batch. F, JVP, VJP: network calls of a batch, in batches; "
    "evaluations: all of these, of one item and branch each. Peak: of a process that loads the model and scores one "
    "batch twice; on the CPU libraries included, on CUDA what the allocator gave."
)
_HEADERS = (
    "detector",
    "batch",
    "F",
    "JVP",
    "VJP",
    "items / s",
    "evaluations / s",
    "efficiency",
    "in forwards",
    "peak",
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
        "efficiency_low": _defined(efficiency.low) if efficiency else None,
        "efficiency_high": _defined(efficiency.high) if efficiency else None,
        "forward_equivalents": forwards.median if forwards else None,
        "forward_equivalents_low": _defined(forwards.low) if forwards else None,
        "forward_equivalents_high": _defined(forwards.high) if forwards else None,
        "peak_memory_bytes": one.peak_memory,
        "measured": measured,
        "forwards": (rows["forward"] + rows["graph"]) / one.batch_size if measured else None,
        "jvps": rows["jvp"] / one.batch_size if measured else None,
        "vjps": rows["vjp"] / one.batch_size if measured else None,
        "seconds": one.seconds,
        "bare_seconds": one.bare,
        "forward_seconds": one.forward,
        "first_call_seconds": _defined(one.first_call_seconds),
        "load_seconds": _defined(one.load_seconds),
        "embed_seconds": _defined(one.embed_seconds),
        "compile_seconds": _defined(one.compile_seconds),
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
        "ratio_low": _defined(found.low),
        "ratio_high": _defined(found.high),
        "rounds": len(one.first_seconds),
        "first_seconds": one.first_seconds,
        "second_seconds": one.second_seconds,
        "measured": True,
        "machine": dict(machine),
    }


def compared_text(row: Row) -> str:
    """A line or two for a person."""
    milliseconds = [1_000 * Spread.of(row[f"{arm}_seconds"]).median / row["batch_size"] for arm in ("first", "second")]
    low, high = row["ratio_low"], row["ratio_high"]
    interval = f" [{low:.3f}, {high:.3f}]" if low is not None else ""
    width = max(len(row["first"]), len(row["second"]))
    return (
        f"{row['model']}, {row['device']}, {row['dtype']}, batch {row['batch_size']}, {row['noise']} noise,"
        f" {row['rounds']} interleaved rounds\n"
        f"{row['first']:{width}}  {milliseconds[0]:.3f} ms / item\n"
        f"{row['second']:{width}}  {milliseconds[1]:.3f} ms / item\n"
        f"{row['first']} takes {row['ratio']:.3f}{interval} times as long as {row['second']}"
        " (median of the rounds' ratios, 95 % interval)."
    )


def read_throughput(text: str, where: str) -> list[Row]:
    """Rows of a JSON file that ``memdet bench --format json`` wrote.

    Raises:
        UserError: It is something else, or of a later version.
    """
    try:
        rows = json.loads(text)
    except ValueError:
        raise UserError(f"{where} is no JSON") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "efficiency" in row for row in rows):
        raise UserError(f"{where} does not hold rows of memdet bench --format json (--compare writes a single ratio)")
    if any(row.get("schema_version", 0) > SCHEMA_VERSION for row in rows):
        raise UserError(f"{where} was written by a later memdet")
    return rows


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else value


def _to_json(rows: Sequence[Row]) -> str:
    return json.dumps(rows, indent=1)


def _to_csv(rows: Sequence[Row]) -> str:
    simple = [key for key in (rows[0] if rows else {}) if not isinstance(rows[0][key], (list, dict))]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, simple, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().rstrip("\n")


def _groups(rows: Sequence[Row]) -> list[tuple[str, list[list[str]]]]:
    groups: dict[str, list[list[str]]] = {}
    for row in rows:
        machine = row["machine"]
        switch = "" if row["accelerate"] == "off" else f", {row['accelerate']}"
        title = (
            f"{row['model']}, {row['dtype']}, {row['noise']} noise{switch}: {row['device']},"
            f" {machine['processor']}, {machine['threads']} threads, torch {machine['packages']['torch']}"
        )
        groups.setdefault(title, []).append(_cells(row))
    return list(groups.items())


def _cells(row: Row) -> list[str]:
    if not row["measured"]:
        return [row["detector"], str(row["batch_size"]), *"---", row["status"], *["-"] * 4]
    median, q1, q3 = (_short(row[f"items_per_second{end}"]) for end in ("", "_q1", "_q3"))
    return [
        row["detector"],
        str(row["batch_size"]),
        *(f"{row[name]:.4g}" for name in ("forwards", "jvps", "vjps")),
        f"{median} [{q1}, {q3}]",
        _short(row["forwards_per_second"]),
        _with_interval(row, "efficiency", 3),
        _with_interval(row, "forward_equivalents", 2),
        "-" if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / 1e9:.2f} GB",
    ]


def _with_interval(row: Row, name: str, digits: int) -> str:
    if row[name] is None:
        return "-"
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    interval = "" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{row[name]:.{digits}f}{interval}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _notes(rows: Sequence[Row]) -> list[str]:
    return [f"{row['detector']}: {row['message']}" for row in rows if row["message"]]


def _to_markdown(rows: Sequence[Row]) -> str:
    blocks = []
    for title, cells in _groups(rows):
        lines = [markdown_line(_HEADERS), markdown_line(["---", *["--:"] * (len(_HEADERS) - 1)])]
        blocks.append(f"**{title}**\n\n" + "\n".join([*lines, *(markdown_line(line) for line in cells)]))
    return "\n\n".join([*blocks, *_notes(rows), LEGEND])


def _to_table(rows: Sequence[Row]) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    output = io.StringIO()
    console = Console(width=1_000, file=output, highlight=False, markup=False)
    for title, cells in _groups(rows):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for index, header in enumerate(_HEADERS):
            table.add_column(header, justify="right" if index else "left", no_wrap=True)
        for line in cells:
            table.add_row(*line)
        console.print(table)
    for note in (*_notes(rows), LEGEND):
        console.print(note)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def _to_pytest_benchmark(rows: Sequence[Row]) -> str:
    from memdet.benching.benchmark_json import benchmark_json

    return benchmark_json(rows)


FORMATS: dict[str, Callable[[Sequence[Row]], str]] = {
    "table": _to_table,
    "markdown": _to_markdown,
    "csv": _to_csv,
    "json": _to_json,
    "pytest-benchmark": _to_pytest_benchmark,
}
