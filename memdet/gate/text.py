"""What the gate found, as text: for a terminal, as Markdown, as JSON."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from memdet.gate.check import Comparison, GateResult
from memdet.gate.pairs import Failure, Move, short
from memdet.tables.run_table import markdown_line, number

SCHEMA_VERSION = 1
HEADERS = (
    "sample set",
    "detector",
    "AUROC before",
    "after",
    "change",
    "adjusted p",
    "largest drift",
    "allowed",
    "gate",
)
_ITEMS_SHOWN = 5


def to_table(result: GateResult) -> str:
    """For a terminal or a log: the verdict, every failure with the items that moved most, all rows, the notes."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    output = io.StringIO()
    console = Console(width=1_000, file=output, highlight=False, markup=False)
    console.print(verdict(result))
    for failure in result.failures:
        console.print(f"\n{failure.kind}: {_where(failure)}\n  {failure.message}")
        for line in _moves(failure):
            console.print(f"    {line}")
    if result.rows:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for index, header in enumerate(HEADERS):
            table.add_column(header, justify="right" if 1 < index < len(HEADERS) - 1 else "left", no_wrap=True)
        for row in result.rows:
            table.add_row(*_cells(row))
        console.print(table)
    console.print(_legend(result))
    for note in result.notes:
        console.print(f"note: {note}")
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def to_markdown(result: GateResult) -> str:
    """For the summary of a CI job."""
    lines = [f"**{verdict(result)}**", ""]
    for failure in result.failures:
        lines.append(f"- **{failure.kind}**: {_where(failure)}: {failure.message}")
        lines += [f"  - {line}" for line in _moves(failure)]
    lines += [""] if result.failures else []
    if result.rows:
        align = ["---", "---", *["--:"] * (len(HEADERS) - 3), "---"]
        lines += [
            markdown_line(HEADERS),
            markdown_line(align),
            *(markdown_line(_cells(row)) for row in result.rows),
            "",
        ]
    lines.append(_legend(result).replace("*", r"\*"))
    lines += ["", *(f"- {note}" for note in result.notes)] if result.notes else []
    return "\n".join(lines)


def to_json(result: GateResult) -> str:
    """Everything in full precision, each item that moved included; undefined numbers are null."""
    content = {"schema_version": SCHEMA_VERSION, "passed": result.passed, **asdict(result)}
    return json.dumps(_plain(content), indent=2, allow_nan=False)


GATE_FORMATS: dict[str, Callable[[GateResult], str]] = {"table": to_table, "json": to_json, "markdown": to_markdown}


def verdict(result: GateResult) -> str:
    """One line."""
    if result.passed:
        return f"memdet check passed: {result.run} against {result.baseline}"
    kinds = [failure.kind for failure in result.failures]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    return f"memdet check FAILED ({counted}): {result.run} against {result.baseline}"


def _where(failure: Failure) -> str:
    return failure.sample_set if failure.detector is None else f"{failure.detector} on {failure.sample_set}"


def _moves(failure: Failure) -> Iterator[str]:
    for move in failure.moved[:_ITEMS_SHOWN]:
        yield _move(move)
    if len(failure.moved) > _ITEMS_SHOWN:
        yield f"and {len(failure.moved) - _ITEMS_SHOWN} more (--format json lists all)"


def _move(move: Move) -> str:
    kind = "memorized" if move.label else "not memorized"
    seed = "" if move.seed is None else f", seed {move.seed}"
    return (
        f"{move.item} ({kind}{seed}): score {move.before:.7g} -> {move.after:.7g}, "
        f"rank {move.rank_before:g} -> {move.rank_after:g}"
    )


def _cells(row: Comparison) -> list[str]:
    change = "-"
    if not math.isnan(row.change.value):
        change = f"{_signed(row.change.value)} [{_signed(row.change.low)}, {_signed(row.change.high)}]"
    return [
        row.sample_set,
        row.detector + (" *" if row.control else ""),
        "-" if math.isnan(row.before) else number(row.before),
        "-" if math.isnan(row.after) else number(row.after),
        change,
        "-" if row.p_adjusted is None else short(row.p_adjusted),
        "-" if row.drift is None else "0" if row.drift == 0 else f"{row.drift:.1e}",
        f"{row.allowed:.0e}",
        ", ".join(row.failed) if row.failed else "ok",
    ]


def _signed(value: float) -> str:
    return number(value, sign=True) if round(value, 3) else ".000"


def _legend(result: GateResult) -> str:
    return (
        f"A drop fails if it exceeds {result.tolerance:g} and its adjusted p is at most {result.alpha:g}: paired "
        f"permutation test, Holm over {result.tests} tests; smaller drops are not tested. Drift is relative to the "
        "detector's largest score. *: control, held to drift alone."
    )


def _plain(value: Any) -> Any:
    """With None for what JSON cannot say."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
