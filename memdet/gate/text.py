"""What the gate found, as text: for a terminal, as Markdown, as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

from memdet.gate.check import GateResult, GateRow
from memdet.gate.pairs import Failure, Move
from memdet.tables.formats import markdown, text
from memdet.tables.numbers import UNDEFINED, bounded, number, power, short, signed
from memdet.tables.table import Table, left, right

SCHEMA_VERSION = 1
COLUMNS = (
    *left("sample set", "detector"),
    *right("AUROC before", "after", drop=3),
    *right("change", drop=5, brief="change"),
    *right("adjusted p", drop=4, best="low"),
    *right("largest drift", drop=2, best="low"),
    *right("allowed", drop=1, best="low"),
    *left("gate"),
)
_ITEMS_SHOWN = 5


def to_table(result: GateResult) -> str:
    """For a terminal or a log: the verdict, every failure with the items that moved most, all rows, the notes."""
    failures = [
        "\n    ".join([f"{failure.kind}: {_where(failure)}\n  {failure.message}", *_moves(failure)])
        for failure in result.failures
    ]
    below = [_legend(result), *(f"note: {note}" for note in result.notes)]
    return text.on_screen([verdict(result), *failures, *_table(result), "\n".join(below)])


def to_markdown(result: GateResult) -> str:
    """For the summary of a CI job."""
    failures = [
        "\n  - ".join([f"- **{failure.kind}**: {_where(failure)}: {failure.message}", *_moves(failure)])
        for failure in result.failures
    ]
    notes = [f"- {note}" for note in result.notes]
    legend = markdown.escape(_legend(result))
    return markdown.document([f"**{verdict(result)}**", "\n".join(failures), *_table(result), legend, "\n".join(notes)])


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


def _table(result: GateResult) -> list[Table]:
    """The rows, those that fail first, where there are any."""
    rows = sorted(result.rows, key=lambda row: not row.failed)
    return [Table(COLUMNS, [_cells(row) for row in rows])] if rows else []


def _cells(row: GateRow) -> list[str]:
    change = UNDEFINED
    if not math.isnan(row.change.value):
        change = bounded(signed(row.change.value), row.change.low, row.change.high, signed)
    return [
        row.sample_set,
        row.detector + (" *" if row.control else ""),
        number(row.before),
        number(row.after),
        change,
        short(row.p_adjusted),
        power(row.drift, 1),
        f"{row.allowed:.0e}",
        ", ".join(row.failed) if row.failed else "ok",
    ]


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
