"""Paired tests as text: for a terminal, as Markdown, CSV or JSON."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from memdet.metrics import METRICS_VERSION
from memdet.tables.comparison import FIELDS, NOT_COMPARED
from memdet.tables.run_table import interval, markdown_line, number, to_csv, to_json

NAMED = 8  # in a note, before the others are counted
Rows = Sequence[dict[str, Any]]
LEGEND = (
    "difference: first minus second on the same items, with the 95 % interval of this pair by itself. p: two-sided, of "
    "equal AUROCs (DeLong's test, clusters being the independent units). Holm: p adjusted for all tests of its table. "
    f"Metrics version {METRICS_VERSION}."
)


def to_markdown(rows: Rows) -> str:
    """One table a sample set."""
    parts = list(_runs(rows))
    for title, headers, cells, notes in _tables(rows):
        names = len(headers) - 5
        lines = [f"**{title}**", "", markdown_line(headers), markdown_line(["---"] * names + ["--:"] * 5)]
        lines += map(markdown_line, cells)
        parts.append("\n".join([*lines, *(["", *notes] if notes else [])]))
    return "\n\n".join([*parts, *_untold(rows), LEGEND])


def to_table(rows: Rows) -> str:
    """For a terminal: as wide as its cells, which are never cut or wrapped."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    output = io.StringIO()
    console = Console(width=1_000, file=output, highlight=False, markup=False)
    for line in _runs(rows):
        console.print(line, end="\n\n")
    for title, headers, cells, notes in _tables(rows):
        table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for index, header in enumerate(headers):
            table.add_column(header, justify="right" if index >= len(headers) - 5 else "left", no_wrap=True)
        for row in cells:
            table.add_row(*row)
        console.print(table)
        for note in notes:
            console.print(note)
        if notes:
            console.print()
    for line in _untold(rows):
        console.print(line, end="\n\n")
    console.print(LEGEND)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


FORMATS: dict[str, Callable[[Rows], str]] = {
    "table": to_table,
    "json": to_json,
    "csv": lambda rows: to_csv(rows, FIELDS),
    "markdown": to_markdown,
}


def _groups(rows: Rows) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Name and rows of each sample set, or of each stratum."""
    for _, group in groupby(rows, key=lambda row: [row[k] for k in ("sample_set", "sample_set_version", "stratum")]):
        members = list(group)
        row = members[0]
        stratum = f", {row['stratum']}" if row["stratum"] else ""
        yield f"{row['sample_set']} v{row['sample_set_version']}{stratum}", members


def _tables(rows: Rows) -> Iterator[tuple[str, list[str], list[list[str]], list[str]]]:
    """Title, headers, cells and notes of each table that has lines."""
    for name, members in _groups(rows):
        tested = [row for row in members if row["status"] != NOT_COMPARED]
        if not tested:
            continue
        largest = max(tested, key=lambda row: row["n_positive"] + row["n_negative"])
        title = (
            f"{name}: {largest['n_positive']} memorized, {largest['n_negative']} not, effective n "
            f"{largest['n_effective']:.1f}".removesuffix(".0")
        )
        names = ["detector"] if _two_runs(rows) else ["first", "second"]
        headers = [*names, "AUROC, first", "AUROC, second", "difference", "p", "Holm"]
        cells = [[*(row[k] for k in ("first", "second")[: len(names)]), *_numbers(row)] for row in tested]
        yield title, headers, cells, _notes((row["first"], row) for row in members)


def _untold(rows: Rows) -> list[str]:
    """Notes on sample sets of which nothing was compared."""
    return _notes(
        (name, row)
        for name, members in _groups(rows)
        if all(row["status"] == NOT_COMPARED for row in members)
        for row in members
    )


def _notes(named: Iterable[tuple[str, dict[str, Any]]]) -> list[str]:
    """One line a message, with whom it is about."""
    by_message: dict[str, list[str]] = {}
    for name, row in named:
        if row["message"]:
            message = ("" if row["status"] == "ok" else "not compared: ") + row["message"]
            by_message.setdefault(message, []).append(name)
    notes = []
    for message, several in by_message.items():
        names = list(dict.fromkeys(several))
        shown = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        notes.append(f"{shown}: {message}.")
    return notes


def _two_runs(rows: Rows) -> bool:
    return any(row["first_run"] != row["second_run"] for row in rows)


def _runs(rows: Rows) -> list[str]:
    """What first and second are, where they are runs."""
    return [f"first: {rows[0]['first_run']}, second: {rows[0]['second_run']}"] if _two_runs(rows) else []


def _numbers(row: dict[str, Any]) -> list[str]:
    return [
        number(row["first_auroc"]),
        number(row["second_auroc"]),
        interval(row, "difference", sign=True),
        _p(row["p"]),
        _p(row["p_adjusted"]),
    ]


def _p(value: float) -> str:
    return "< .001" if value < 0.0005 else number(value)
