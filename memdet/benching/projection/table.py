"""The tables of ``memdet bench plan``: projections, and called so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from memdet.benching.projection.op_trace import Unit
from memdet.benching.projection.roofline import Plan, Projection
from memdet.benching.projection.work import FIELDS as WORK_FIELDS
from memdet.benching.projection.work import Work, answer, work_row, work_table
from memdet.io_utils import json_text
from memdet.tables.formats import markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.numbers import UNDEFINED, percent, quantity
from memdet.tables.screen import current
from memdet.tables.table import Block, Table, left, right

FIELDS = (
    "detector",
    "model",
    "device",
    "dtype",
    "batch_size",
    "items_per_second",
    "forwards_per_second",
    "efficiency",
    "peak_memory_bytes",
    "measured",
    "forwards",
    "jvps",
    "vjps",
    "flops",
    "bytes",
    "coverage",
    "uncounted",
    "items_per_second_of_flops",
    "status",
)
EFFICIENCY = 1.0  # a detector takes no time beside its network calls, and these run at the device's peaks
LEGEND = (
    "items / s, at most: the operators run one after the other, each reads and writes device memory, and nothing but "
    "the network takes time. Each operator takes the longer of two times: its FLOPs at the device's published peak, or "
    "its bytes at the published memory bandwidth. by FLOPs alone: the same, as if memory took no time. F: a forward of "
    "one item on one branch (a guided step is two). JVP, VJP: Jacobian products in forward and reverse mode; the "
    "forward that a VJP needs first is counted as an F. Counts are per item and seed, with per-item noise. GB: 1e9 "
    "bytes."
)
Row = dict[str, Any]
_UNIT_COLUMNS = (
    *left("unit"),
    *right("TFLOP", drop=6, best="low"),
    *right("coverage", drop=1),
    *right("GB moved per row", drop=3, best="low"),
    *right("GB kept per row", drop=4, best="low"),
    *right("rows that fit", "batch", drop=5),
    *right("ms per row, at least", best="low"),
    *right("memory-bound", drop=2),
)
_COLUMNS = (
    *left("detector"),
    *right("F", "JVP", "VJP", drop=3, best="low"),
    *right("TFLOP / item", drop=4, best="low"),
    *right("batch", drop=2),
    *right("GB at peak", drop=5, best="low"),
    *right("items / s, at most"),
    *right("by FLOPs alone", drop=1),
)


def plan_rows(plans: Sequence[Plan], work: Work | None = None) -> list[Row]:
    """A row for each model and detector, with the keys of ``FIELDS``; what does not fit has no rates.

    Args:
        plans: A model each.
        work: What is to be scored; rows then have its ``FIELDS`` too.
    """
    return [
        _row(plan, one) | ({} if work is None else work_row(plan, index, work))
        for plan in plans
        for index, one in enumerate(plan.projections)
    ]


def plan_table(plans: Sequence[Plan], form: str, work: Work | None = None) -> str:
    """The plans as text.

    Args:
        plans: A model each.
        form: A key of ``FORMATS``: ``table``, ``markdown``, or the rows as ``csv`` or ``json``.
        work: What is to be scored, which is then answered first.
    """
    return FORMATS[form](plans, work)


def _row(plan: Plan, one: Projection) -> Row:
    used = {unit: plan.traces[unit] for unit in plan.traces if one.evaluations[unit]}
    operations = sum(one.evaluations[unit] * plan.flops(unit) / traced.coverage for unit, traced in used.items())
    forward = plan.time("F", one.batch).seconds
    fits = one.seconds is not None
    uncounted: dict[str, int] = {}
    for unit, traced in used.items():
        for name, (_, size) in traced.uncounted.items():
            uncounted[name] = uncounted.get(name, 0) + round(one.evaluations[unit] * size / traced.rows)
    return {
        "detector": one.detector,
        "model": plan.model,
        "device": plan.device_name,
        "dtype": plan.precision,
        "batch_size": one.batch,
        "items_per_second": 1 / one.seconds if one.seconds else None,
        "forwards_per_second": one.batch / forward if fits else None,
        "efficiency": EFFICIENCY,
        "peak_memory_bytes": round(one.memory),
        "measured": False,
        "forwards": one.evaluations["F"],
        "jvps": one.evaluations["JVP"],
        "vjps": one.evaluations["VJP"],
        "flops": round(one.flops),
        "bytes": round(sum(one.evaluations[unit] * plan.bytes_moved(unit, one.batch) / one.batch for unit in used)),
        "coverage": one.flops / operations,
        "uncounted": uncounted,
        "items_per_second_of_flops": plan.device.flops[plan.precision] / one.flops,
        "status": "ok" if fits else "does not fit",
    }


def _title(plan: Plan) -> str:
    return f"PROJECTION, nothing was measured: {plan.model} on {plan.device.title}, {plan.precision}"


def _facts(plan: Plan) -> str:
    shape = " x ".join(map(str, plan.latent_shape))
    tokens = f", {plan.tokens} tokens" if plan.tokens else ""
    device = plan.device
    return (
        f"{plan.parameters:,} parameters, {_gb(plan.weights)} GB; latents {shape}{tokens}; T = {plan.steps}. "
        f"Peaks: {device.flops[plan.precision] / 1e12:g} TFLOP/s, {device.bandwidth / 1e9:,.0f} GB/s, "
        f"{device.memory / 1e9:g} GB."
    )


def _unit_cells(plan: Plan, unit: Unit) -> list[str]:
    traced, batch = plan.traces[unit], plan.fitting_batch([unit])
    time = plan.time(unit, batch or 1)
    return [
        unit,
        _digits(plan.flops(unit) / 1e12),
        percent(traced.coverage, 2),
        _gb(plan.bytes_moved(unit, batch or 1) / (batch or 1)),
        _gb(plan.row_memory(unit)),
        f"{plan.largest_batch(unit):,}",
        *([str(batch), _digits(1e3 * time.seconds / batch)] if batch else [UNDEFINED] * 2),
        percent(time.moving / time.seconds, 0),
    ]


def _cells(plan: Plan, one: Projection) -> list[str]:
    row = _row(plan, one)
    return [
        one.detector,
        *(f"{one.evaluations[unit]:g}" for unit in ("F", "JVP", "VJP")),
        _digits(one.flops / 1e12),
        str(one.batch),
        _gb(one.memory),
        row["status"] if row["items_per_second"] is None else _digits(row["items_per_second"]),
        _digits(row["items_per_second_of_flops"]),
    ]


def _notes(plan: Plan) -> list[str]:
    """Operators that the FLOPs leave out."""
    notes = []
    for unit, traced in plan.traces.items():
        moved = sum(size for _, size in traced.uncounted.values()) / traced.rows
        names = ", ".join(f"{name} {calls}" for name, (calls, _) in traced.uncounted.items())
        notes.append(
            f"{unit}: the column TFLOP leaves out the operators for which torch has no FLOP formula. They move "
            f"{_gb(moved)} GB per row. How often each is called: {names}."
        )
    return notes


def _tables(plan: Plan) -> list[Table]:
    return [
        Table(_UNIT_COLUMNS, [_unit_cells(plan, unit) for unit in plan.traces]),
        Table(_COLUMNS, [_cells(plan, one) for one in plan.projections]),
    ]


def _answered(plan: Plan, work: Work | None) -> list[Block]:
    return [] if work is None else [answer(plan, work), work_table(plan, work)]


def _to_markdown(plans: Sequence[Plan], work: Work | None) -> str:
    blocks: list[Block] = []
    for plan in plans:
        blocks += [f"**{_title(plan)}**", *_answered(plan, work), _facts(plan), *_tables(plan), *_notes(plan)]
    return markdown.document([*blocks, LEGEND])


def _to_table(plans: Sequence[Plan], work: Work | None) -> str:
    """Who asks how long it takes gets the answer, and what it rests on with ``--wide`` alone."""
    blocks: list[Block] = []
    if work is not None and not current().wide:
        for plan in plans:
            blocks += [_title(plan), *_answered(plan, work)]
        return text.on_screen([*blocks, "--wide shows what this rests on."])
    for plan in plans:
        facts = f"{_title(plan)}\n{_facts(plan)}"
        blocks += [facts, *_answered(plan, work), *_tables(plan), "\n".join(_notes(plan))]
    return text.on_screen([*blocks, LEGEND])


def _to_csv(plans: Sequence[Plan], work: Work | None) -> str:
    rows = ({**row, "uncounted": " ".join(row["uncounted"])} for row in plan_rows(plans, work))
    return to_csv(rows, FIELDS if work is None else (*FIELDS, *WORK_FIELDS))


FORMATS: dict[str, Callable[[Sequence[Plan], Work | None], str]] = {
    "table": _to_table,
    "json": lambda plans, work: json_text(plan_rows(plans, work)),
    "csv": _to_csv,
    "markdown": _to_markdown,
}


def _gb(size: float) -> str:
    return _digits(size / 1e9)


def _digits(value: float) -> str:
    return quantity(value, aligned=True)
