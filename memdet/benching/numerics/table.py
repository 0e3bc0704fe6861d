"""The tables of a numerical audit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from memdet.benching.numerics.audit import JACOBIANS, Audit, Deviation
from memdet.errors import UserError
from memdet.io_utils import json_text
from memdet.metrics import auroc
from memdet.tables.formats import markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.numbers import UNDEFINED, counted, defined, number, power
from memdet.tables.table import Block, Table, left, notes_by_message, right

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
    "Everything is compared with float64. J_c: the Jacobian of the conditional score; J_D: the Jacobian of the score "
    "difference. With vjp the product is J^T v, compared with J^T v in float64; with the other backends it is J v. "
    "Products by jvp always use the math kernel; the column attention then says which kernel the rest of the detector "
    "uses. AUROC shift: the AUROC minus the AUROC in float64."
)
BEGIN, END = "<!-- numerics: begin -->", "<!-- numerics: end -->"
Row = dict[str, Any]
Floats = NDArray[np.float64]


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


def _row(measured: Deviation, labels: Sequence[int]) -> Row:
    row: Row = dict.fromkeys(FIELDS)
    row |= {key: getattr(measured, key) for key in ("subject", "t", "dtype", "attention", "backend")}
    row |= {"status": measured.status, "message": measured.message}
    if measured.status != "ok":
        return row
    errors = np.asarray(measured.errors)
    if measured.scores:
        errors = relative_differences(measured.scores, measured.reference)
        value, exact = auroc(measured.scores, labels), auroc(measured.reference, labels)
        row |= {"auroc": defined(value), "auroc_shift": defined(value - exact)}
        row["rank_correlation"] = defined(rank_correlation(measured.scores, measured.reference))
    row |= {"median_error": defined(np.median(errors)), "largest_error": defined(errors.max())}
    return row


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
    return (
        f"{c['model']} on {c['sample_set']}: {c['n_positive']} memorized, {c['n_negative']} not, seed {c['seed']}, "
        f"products at t = {times}; {c['device']}, {counted(c['threads'], 'thread')}, torch {c['torch']}."
    )


def _to_json(audit: Audit) -> str:
    return json_text({**_circumstances(audit), "rows": numerics_rows(audit)})


def _blocks(audit: Audit) -> list[Block]:
    """What was measured, the tables, and what could not run."""
    rows = numerics_rows(audit)
    return [_line(audit), *_tables(audit, rows), *_notes(rows), LEGEND]


FORMATS: dict[str, Callable[[Audit], str]] = {
    "table": lambda audit: text.on_screen(_blocks(audit)),
    "json": _to_json,
    "csv": lambda audit: to_csv(numerics_rows(audit), FIELDS),
    "markdown": lambda audit: markdown.document(_blocks(audit)),
}


def _tables(audit: Audit, rows: Sequence[Row]) -> list[Table]:
    """That of the products and, where there are scores, theirs."""
    products = [row for row in rows if row["subject"] in JACOBIANS]
    scores = [row for row in rows if row["subject"] not in JACOBIANS]
    subjects, backends, dtypes = (_unique(scores, key) for key in ("subject", "backend", "dtype"))
    scores.sort(key=lambda row: (subjects.index(row["subject"]), backends.index(row["backend"])))
    places = [(jacobian, t) for jacobian in JACOBIANS for t in audit.timesteps]
    down = ("dtype", "backend", "attention")
    tables = [
        Table(
            (*left(*down), *right(*(f"{jacobian}, t = {t}" for jacobian, t in places))),
            _pivot(products, down, ("subject", "t"), places),
            "Relative error of products: median / largest",
        )
    ]
    if scores:
        tables.append(
            Table(
                (*left("detector", "backend", "attention"), *right(*dtypes)),
                _pivot(scores, ("subject", "backend", "attention"), ("dtype",), [(dtype,) for dtype in dtypes]),
                "Scores: largest relative difference / rank correlation / AUROC shift",
            )
        )
    return tables


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
        return UNDEFINED
    if row["status"] != "ok":
        return str(row["status"])
    if row["subject"] in JACOBIANS:
        return f"{power(row['median_error'])} / {power(row['largest_error'])}"
    rank, shift = number(row["rank_correlation"], places=4), number(row["auroc_shift"], sign=True)
    return f"{power(row['largest_error'])} / {rank} / {shift}"


def _notes(rows: Sequence[Row]) -> list[str]:
    """Each reason once, with the combinations that it stopped."""
    return notes_by_message(
        (_combination(row), f"{row['status']}: {row['message']}") for row in rows if row["status"] != "ok"
    )


def _combination(row: Row) -> str:
    name = f"{row['attention']} attention in {row['dtype']}"
    return name if row["status"] == "not-applicable" else f"{name} ({row['subject']}, {row['backend']})"
