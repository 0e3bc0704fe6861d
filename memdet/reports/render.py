"""The table as text: for a terminal, as Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from memdet.reports.rows import FIELDS

Rows = Sequence[dict[str, Any]]
HEADERS = ("detector", "AUROC", "TPR at 1 % FPR", "gain over control", "F", "JVP", "VJP", "ms / item", "status")
LEGEND = (
    "95 % intervals in brackets. F, JVP, VJP: forwards and Jacobian products an item and seed; ms: on this machine, "
    "standalone. gain: AUROC minus that of the best control. *: control, never calls the model."
)
NOT_RESOLVABLE = "not resolvable"


def to_json(rows: Rows) -> str:
    """A list of objects, full precision; undefined numbers are null."""
    return json.dumps(list(rows), indent=2)


def to_csv(rows: Rows) -> str:
    """All fields, full precision; undefined numbers are empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().rstrip("\n")


def to_markdown(rows: Rows) -> str:
    """One table a sample set."""
    parts = []
    for title, cells in _tables(rows):
        lines = [f"**{title}**", "", _markdown_line(HEADERS), _markdown_line(["---"] + ["--:"] * 7 + ["---"])]
        lines += [_markdown_line(row) for row in cells]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, LEGEND.replace("*:", r"\*:")])


def to_table(rows: Rows, width: int | None = None) -> str:
    """For a terminal, with rich.

    Args:
        rows: From :func:`memdet.reports.rows.report_rows`.
        width: Columns of the terminal; found by itself if not given. Narrow terminals wrap cells rather than cut them.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console(width=width, file=io.StringIO(), highlight=False)
    if width is None and console.width < 100:
        console = Console(width=120, file=io.StringIO(), highlight=False)
    for title, cells in _tables(rows):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for index, header in enumerate(HEADERS):
            numeric = 0 < index < len(HEADERS) - 1
            table.add_column(header, justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
        for row in cells:
            table.add_row(*row)
        console.print(table)
    console.print(LEGEND)
    output = console.file
    assert isinstance(output, io.StringIO)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


FORMATS: dict[str, Callable[[Rows], str]] = {
    "table": to_table,
    "json": to_json,
    "csv": to_csv,
    "markdown": to_markdown,
}


def _tables(rows: Rows) -> list[tuple[str, list[list[str]]]]:
    """Title and cells of each sample set."""
    tables = []
    for sample_set, group in groupby(rows, key=lambda row: row["sample_set"]):
        members = list(group)
        first = members[0]
        seeds = max(row["seeds"] for row in members)
        title = f"{sample_set}: {first['n_positive']} memorized, {first['n_negative']} not, {seeds} noise seed"
        tables.append((title + ("s" if seeds > 1 else ""), [_cells(row) for row in members]))
    return tables


def _cells(row: dict[str, Any]) -> list[str]:
    control = row["access"] in {"none", "text"}
    tpr = _interval(row, "tpr_at_1_fpr")
    status = row["status"] if not row["message"] else f"{row['status']}: {row['message']}"
    seconds = row["seconds_per_item"]
    counted = row["status"] == "ok"
    return [
        row["detector"] + (" *" if control else ""),
        _interval(row, "auroc"),
        NOT_RESOLVABLE if tpr == "-" and counted else tpr,
        "-" if row["gain_over_control"] is None else _interval(row, "gain_over_control", sign=True),
        *(_count(row[key]) if counted else "-" for key in ("forwards", "jvps", "vjps")),
        f"{1e3 * seconds:.2f}" if counted and seconds is not None else "-",
        status,
    ]


def _interval(row: dict[str, Any], name: str, *, sign: bool = False) -> str:
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if value is None:
        return "-"
    text = f"{value:+.3f}" if sign else f"{value:.3f}"
    return text if low is None or high is None else f"{text} [{low:.3f}, {high:.3f}]"


def _count(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
