"""The tables of a numerical audit."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.benching.numerics.audit import JACOBIANS, Audit, Measured
from memdet.errors import UserError
from memdet.metrics import auroc
from memdet.tables.run_table import markdown_line, number

FIELDS = (
    "subject",
    "t",
    "dtype",
    "attention",
    "backend",
    "median_error",
    "largest_error",
    "rank_correlation",
    "auroc",
    "auroc_shift",
    "status",
    "message",
)
LEGEND = (
    "All against float64. J_c: Jacobian of the conditional score; J_D: of the difference of the branches. vjp is J^T v "
    "held against J^T v; the others are J v. jvp always takes the math kernel; attention then says what the rest of a "
    "detector takes. AUROC shift: AUROC less that in float64."
)
BEGIN, END = "<!-- numerics: begin -->", "<!-- numerics: end -->"
Row = dict[str, Any]
_TEXT_COLUMNS = 3
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Table:
    """Title, headers and cells; the first columns are text."""

    title: str
    headers: list[str]
    cells: list[list[str]]


def numerics_rows(audit: Audit) -> list[Row]:
    """A row a measurement, with the keys of ``FIELDS``; undefined numbers are None."""
    return [_row(measured, audit.labels) for measured in audit.measured]


def relative_differences(scores: ArrayLike, reference: ArrayLike) -> Floats:
    """``abs(s - r) / max(abs(r), median abs(r))``, ``[n]``.

    The median keeps an item whose score happens to be close to 0 from deciding. NaN where both are 0 and s is not.
    """
    s, r = np.asarray(scores, np.float64), np.asarray(reference, np.float64)
    difference, size = np.abs(s - r), np.maximum(np.abs(r), np.median(np.abs(r)))
    return np.where(difference == 0, 0.0, np.divide(difference, size, out=np.full_like(s, np.nan), where=size > 0))


def rank_correlation(scores: ArrayLike, reference: ArrayLike) -> float:
    """Spearman's, ties at mid-ranks; NaN where either is constant."""
    from scipy.stats import rankdata

    a, b = (rank - rank.mean() for rank in (rankdata(scores), rankdata(reference)))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else math.nan


def numerics_table(audit: Audit, form: str) -> str:
    """The audit as text.

    Args:
        audit: What was measured.
        form: ``table``, ``markdown``, ``csv`` (the rows) or ``json`` (the circumstances, and the rows).
    """
    return FORMATS[form](audit)


def replace_between(document: str, text: str) -> str:
    """Put ``text`` between the two markers of a Markdown document.

    Raises:
        UserError: The document does not hold both, in order and once.
    """
    head, found, rest = document.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not (found and closed) or BEGIN in tail or END in tail:
        raise UserError(f"the file to be written exists and has no part between {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}"


def _row(measured: Measured, labels: Sequence[int]) -> Row:
    row: Row = dict.fromkeys(FIELDS)
    row |= {key: getattr(measured, key) for key in ("subject", "t", "dtype", "attention", "backend")}
    row |= {"status": measured.status, "message": measured.message}
    if measured.status != "ok":
        return row
    errors = np.asarray(measured.errors)
    if measured.scores:
        errors = relative_differences(measured.scores, measured.reference)
        value, exact = auroc(measured.scores, labels), auroc(measured.reference, labels)
        row |= {"auroc": _defined(value), "auroc_shift": _defined(value - exact)}
        row["rank_correlation"] = _defined(rank_correlation(measured.scores, measured.reference))
    row |= {"median_error": _defined(np.median(errors)), "largest_error": _defined(errors.max())}
    return row


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def _circumstances(audit: Audit) -> Row:
    positive = sum(audit.labels)
    return {
        "model": audit.model,
        "sample_set": audit.sample_set,
        "n_positive": positive,
        "n_negative": len(audit.labels) - positive,
        "seed": audit.seed,
        "timesteps": audit.timesteps,
        "device": audit.device,
        "threads": audit.threads,
        "torch": audit.torch,
    }


def _line(audit: Audit) -> str:
    """One line that says what was measured, on what and with what."""
    c = _circumstances(audit)
    times = " and ".join(map(str, audit.timesteps))
    threads = f"{c['threads']} thread" + ("s" if c["threads"] > 1 else "")
    return (
        f"{c['model']} on {c['sample_set']}: {c['n_positive']} memorized, {c['n_negative']} not, seed {c['seed']}, "
        f"products at t = {times}; {c['device']}, {threads}, torch {c['torch']}."
    )


def _to_json(audit: Audit) -> str:
    return json.dumps({**_circumstances(audit), "rows": numerics_rows(audit)}, indent=2)


def _to_csv(audit: Audit) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(numerics_rows(audit))
    return buffer.getvalue().rstrip("\n")


def _to_markdown(audit: Audit) -> str:
    parts = [_line(audit)]
    tables, notes = _tables(audit)
    for table in tables:
        aligned = ["---"] * _TEXT_COLUMNS + ["--:"] * (len(table.headers) - _TEXT_COLUMNS)
        lines = [f"**{table.title}**", ""]
        lines += [markdown_line(cells) for cells in (table.headers, aligned, *table.cells)]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, *notes, LEGEND])


def _to_table(audit: Audit) -> str:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    output = io.StringIO()
    console = Console(width=1_000, file=output, highlight=False, markup=False)
    tables, notes = _tables(audit)
    console.print(_line(audit) + "\n")
    for table in tables:
        shown = Table(title=table.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for index, header in enumerate(table.headers):
            shown.add_column(header, justify="left" if index < _TEXT_COLUMNS else "right", no_wrap=True)
        for cells in table.cells:
            shown.add_row(*cells)
        console.print(shown)
    for text in [*notes, LEGEND]:
        console.print(text)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


FORMATS: dict[str, Callable[[Audit], str]] = {
    "table": _to_table,
    "json": _to_json,
    "csv": _to_csv,
    "markdown": _to_markdown,
}


def _tables(audit: Audit) -> tuple[list[_Table], list[str]]:
    """The two tables, and notes on what could not run."""
    rows = numerics_rows(audit)
    products = [row for row in rows if row["subject"] in JACOBIANS]
    scores = [row for row in rows if row["subject"] not in JACOBIANS]
    subjects, backends, dtypes = (_unique(scores, key) for key in ("subject", "backend", "dtype"))
    scores.sort(key=lambda row: (subjects.index(row["subject"]), backends.index(row["backend"])))
    places = [(jacobian, t) for jacobian in JACOBIANS for t in audit.timesteps]
    down = ("dtype", "backend", "attention")
    tables = [
        _Table(
            "Relative error of products: median / largest",
            [*down, *(f"{jacobian}, t = {t}" for jacobian, t in places)],
            _pivot(products, down, ("subject", "t"), places),
        )
    ]
    if scores:
        tables.append(
            _Table(
                "Scores: largest relative difference / rank correlation / AUROC shift",
                ["detector", "backend", "attention", *dtypes],
                _pivot(scores, ("subject", "backend", "attention"), ("dtype",), [(dtype,) for dtype in dtypes]),
            )
        )
    return tables, _notes(rows)


def _unique(rows: Sequence[Row], key: str) -> list[str]:
    return list(dict.fromkeys(row[key] for row in rows))


def _pivot(
    rows: Sequence[Row], down: Sequence[str], across: Sequence[str], columns: Sequence[tuple[Any, ...]]
) -> list[list[str]]:
    """Cells of a table; a line of which nothing could run is left to the notes."""
    lines: dict[tuple[str, ...], dict[tuple[Any, ...], Row]] = {}
    for row in rows:
        line = lines.setdefault(tuple(row[key] for key in down), {})
        line[tuple(row[key] for key in across)] = row
    return [
        [*key, *(_cell(line.get(column)) for column in columns)]
        for key, line in lines.items()
        if any(row["status"] != "not-applicable" for row in line.values())
    ]


def _cell(row: Row | None) -> str:
    if row is None:
        return "-"
    if row["status"] != "ok":
        return str(row["status"])
    if row["subject"] in JACOBIANS:
        return f"{_power(row['median_error'])} / {_power(row['largest_error'])}"
    rank = "-" if row["rank_correlation"] is None else f"{row['rank_correlation']:.4f}".replace("0.", ".", 1)
    shift = "-" if row["auroc_shift"] is None else number(row["auroc_shift"], sign=True)
    return f"{_power(row['largest_error'])} / {rank} / {shift}"


def _power(value: float | None) -> str:
    return "-" if value is None else "0" if value == 0 else f"{value:.0e}"


def _notes(rows: Sequence[Row]) -> list[str]:
    """Each reason once, with the combinations that it stopped."""
    stopped: dict[str, list[str]] = {}
    for row in rows:
        if row["status"] != "ok":
            known = stopped.setdefault(f"{row['status']}: {row['message']}", [])
            name = f"{row['attention']} attention in {row['dtype']}"
            if row["status"] != "not-applicable":
                name += f" ({row['subject']}, {row['backend']})"
            known += [] if name in known else [name]
    return [f"{', '.join(names)}: {why}." for why, names in stopped.items()]
