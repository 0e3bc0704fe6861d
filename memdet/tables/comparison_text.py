"""Paired tests as text: for a terminal, as Markdown, CSV or JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from memdet.io_utils import json_text
from memdet.metrics import METRICS_VERSION
from memdet.tables.comparison import FIELDS, IN_ONE_RUN, NOT_COMPARED, lacking
from memdet.tables.formats import markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.numbers import count, interval, number, p_value
from memdet.tables.rows import Row, Rows
from memdet.tables.table import Block, Table, left, notes_by_message, right

NAMED = 8  # in a note, before the others are counted
LEGEND = (
    "difference: AUROC of the first minus AUROC of the second, on the same items, with the 95 % interval for this pair "
    "by itself. p: two-sided p-value for equal AUROCs (DeLong's test, in which clusters and noise seeds are the "
    "independent units; with a single seed, only clusters are). Holm: p adjusted for all tests of its table. "
    f"Metrics version {METRICS_VERSION}."
)
_NUMBERS = (
    *right("AUROC, first", "AUROC, second", drop=3),
    *right("difference"),
    *right("p", drop=2, best="low"),
    *right("Holm", best="low"),
)

FORMATS: dict[str, Callable[[Rows], str]] = {
    "table": lambda rows: text.on_screen(_blocks(rows)),
    "json": lambda rows: json_text(list(rows)),
    "csv": lambda rows: to_csv(rows, FIELDS),
    "markdown": lambda rows: markdown.document(
        [markdown.plain_table(block) if isinstance(block, Table) else markdown.plain(block) for block in _blocks(rows)]
    ),
}


def _blocks(rows: Rows) -> list[Block]:
    """What first and second are, where they are runs; a table a sample set; what was not compared, and how it can."""
    runs = [f"first: {rows[0]['first_run']}, second: {rows[0]['second_run']}"] if _two_runs(rows) else []
    advice = [f"{IN_ONE_RUN[0].upper()}{IN_ONE_RUN[1:]}."] if any(map(lacking, rows)) else []
    return [*runs, *_tables(rows), *_untold(rows), *advice, LEGEND]


def _groups(rows: Rows) -> Iterator[tuple[str, list[Row]]]:
    """Name and rows of each sample set, or of each stratum."""
    for _, group in groupby(rows, key=lambda row: [row[k] for k in ("sample_set", "sample_set_version", "stratum")]):
        members = list(group)
        row = members[0]
        stratum = f", {row['stratum']}" if row["stratum"] else ""
        yield f"{row['sample_set']} v{row['sample_set_version']}{stratum}", members


def _tables(rows: Rows) -> Iterator[Table]:
    """Each table that has lines."""
    sides = ("first",) if _two_runs(rows) else ("first", "second")
    names = left("detector") if _two_runs(rows) else left(*sides)
    for name, members in _groups(rows):
        tested = [row for row in members if row["status"] != NOT_COMPARED]
        if not tested:
            continue
        largest = max(tested, key=lambda row: row["n_positive"] + row["n_negative"])
        title = (
            f"{name}: {largest['n_positive']} memorized, {largest['n_negative']} not, effective n "
            f"{count(round(largest['n_effective'], 1))}"
        )
        cells = [[*(row[side] for side in sides), *_numbers(row)] for row in tested]
        yield Table((*names, *_NUMBERS), cells, title, _notes((row["first"], row) for row in members))


def _untold(rows: Rows) -> list[str]:
    """Notes on sample sets of which nothing was compared."""
    return _notes(
        (name, row)
        for name, members in _groups(rows)
        if all(row["status"] == NOT_COMPARED for row in members)
        for row in members
    )


def _notes(named: Iterable[tuple[str, Row]]) -> list[str]:
    """One line a message, with whom it is about."""
    said = (
        (name, ("" if row["status"] == "ok" else "not compared: ") + row["message"])
        for name, row in named
        if row["message"]
    )
    return notes_by_message(said, NAMED)


def _two_runs(rows: Rows) -> bool:
    return any(row["first_run"] != row["second_run"] for row in rows)


def _numbers(row: Row) -> list[str]:
    return [
        number(row["first_auroc"]),
        number(row["second_auroc"]),
        interval(row, "difference", sign=True),
        p_value(row["p"]),
        p_value(row["p_adjusted"]),
    ]
