"""The table as text: for a terminal, as Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from memdet.metrics import METRICS_VERSION
from memdet.tables.rows import FIELDS

Rows = Sequence[dict[str, Any]]
HEADERS = (
    "detector",
    "AUROC",
    "group",
    "TPR at 1 % FPR",
    "gain over control",
    "rank corr.",
    "F",
    "JVP",
    "VJP",
    "ms / item",
    "status",
)
GROUP = (
    "group: 1 is the highest AUROC and all that do not differ from it significantly (paired tests that respect "
    "clusters, Holm over all pairs, .05), 2 the best of the others and all that do not differ from it, and so on."
)
LEGEND = (
    f"95 % intervals in brackets. {GROUP} F, JVP, VJP: forwards and Jacobian products an item and seed; ms: on this "
    "machine, standalone. gain: AUROC minus that of the best control. rank corr.: Spearman, scores against the "
    f"measured share of copies. *: control, never calls the model. Metrics version {METRICS_VERSION}."
)
NOT_RESOLVABLE = "not resolvable"
_OF_TABLE = ("run", "sample_set", "sample_set_version", "stratum")  # rows that differ in one never share a table


def to_json(rows: Rows) -> str:
    """A list of objects, full precision; undefined numbers are null."""
    return json.dumps(list(rows), indent=2)


def to_csv(rows: Rows, fields: Sequence[str] = FIELDS) -> str:
    """All fields, full precision; undefined numbers are empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().rstrip("\n")


def to_markdown(rows: Rows) -> str:
    """One table a sample set."""
    parts = []
    for title, cells, notes in tables_of(rows):
        lines = [
            f"**{title}**",
            "",
            markdown_line(HEADERS),
            markdown_line(["---"] + ["--:"] * (len(HEADERS) - 2) + ["---"]),
        ]
        lines += [markdown_line(row) for row in cells]
        lines += ["", *notes] if notes else []
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, LEGEND.replace("*:", r"\*:")])


def to_table(rows: Rows) -> str:
    """For a terminal: as wide as its cells, which are never cut or wrapped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    output = io.StringIO()
    console = Console(width=1_000, file=output, highlight=False, markup=False)
    for title, cells, notes in tables_of(rows):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for index, header in enumerate(HEADERS):
            table.add_column(header, justify="right" if 0 < index < len(HEADERS) - 1 else "left", no_wrap=True)
        for row in cells:
            table.add_row(*row)
        console.print(table)
        for note in notes:
            console.print(note)
        if notes:
            console.print()
    console.print(LEGEND)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


def tables_of(rows: Rows) -> list[tuple[str, list[list[str]], list[str]]]:
    """Title, cells and notes of each run's sample sets, or of their strata."""
    tables = []
    several = len({row["run"] for row in rows}) > 1
    for _, group in groupby(rows, key=lambda row: [row[name] for name in _OF_TABLE]):
        members = list(group)
        first = members[0]
        seeds = max(row["seeds"] for row in members)
        title = table_title(first, seeds) + (f", run {first['run']}" if several else "")
        tables.append((title, [cells_of(row) for row in members], notes_of(members)))
    return tables


def table_title(row: dict[str, Any], seeds: int) -> str:
    """What a table is about: ``small v1: 4 memorized, 4 not, effective n 4, 2 noise seeds``."""
    name = f"{row['sample_set']} v{row['sample_set_version']}" + (f", {row['stratum']}" if row["stratum"] else "")
    size = f"effective n {_count(round(row['n_effective'], 1))}"
    plural = "s" if seeds > 1 else ""
    return f"{name}: {row['n_positive']} memorized, {row['n_negative']} not, {size}, {seeds} noise seed{plural}"


def notes_of(rows: Rows) -> list[str]:
    """What rows without numbers say for themselves, a line a message."""
    by_message: dict[str, list[str]] = {}
    for row in rows:
        if row["message"]:
            by_message.setdefault(f"{row['status']}: {row['message']}", []).append(row["detector"])
    return [f"{', '.join(names)}: {message}." for message, names in by_message.items()]


def cells_of(row: dict[str, Any]) -> list[str]:
    """A row under ``HEADERS``."""
    control = row["access"] in {"none", "text"}
    tpr = interval(row, "tpr_at_1_fpr")
    seconds = row["seconds_per_item"]
    counted = row["status"] == "ok"
    return [
        row["detector"] + (" *" if control else ""),
        interval(row, "auroc"),
        "-" if row["tie_group"] is None else str(row["tie_group"]),
        NOT_RESOLVABLE if tpr == "-" and counted else tpr,
        "-" if row["gain_over_control"] is None else interval(row, "gain_over_control", sign=True),
        "-" if row["rank_correlation"] is None else number(row["rank_correlation"]),
        *(_count(row[key]) if counted else "-" for key in ("forwards", "jvps", "vjps")),
        f"{1e3 * seconds:.2f}" if counted and seconds is not None else "-",
        row["status"],
    ]


def evaluation_parts(row: dict[str, Any]) -> str:
    """What an item and seed costs: ``40 F + 4 VJP``."""
    parts = [(row[name], unit) for name, unit in (("forwards", "F"), ("jvps", "JVP"), ("vjps", "VJP"))]
    return " + ".join(f"{value:.3g} {unit}" for value, unit in parts if value) or "0"


def interval(row: dict[str, Any], name: str, *, sign: bool = False) -> str:
    """Value and bounds of a row's number, ``.973 [.951, .990]``; ``-`` where it is undefined."""
    value, low, high = row[name], row[f"{name}_low"], row[f"{name}_high"]
    if value is None:
        return "-"
    text = number(value, sign=sign)
    return text if low is None or high is None else f"{text} [{number(low)}, {number(high)}]"


def number(value: float, *, sign: bool = False) -> str:
    """Three digits without a leading zero: .973, +.120, 1.000."""
    text = f"{value:+.3f}" if sign else f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(float(text)) < 1 else text


def _count(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def markdown_line(cells: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
