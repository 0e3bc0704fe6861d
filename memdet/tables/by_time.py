"""AUROC of detectors that look at one time, a column for each time."""

from __future__ import annotations

from collections.abc import Callable

from memdet.errors import UserError
from memdet.results.labels import split_option
from memdet.tables.formats import markdown, text
from memdet.tables.numbers import interval
from memdet.tables.rows import Row, Rows
from memdet.tables.run_table import table_title
from memdet.tables.table import Column, Table, left

FIRST = "first step"


def by_time(rows: Rows) -> str:
    """Markdown: :func:`tables_of`."""
    return markdown.document(tables_of(rows))


def tables_of(rows: Rows) -> list[Table]:
    """A table for each sample set, a line for each detector, a column for each time.

    Detectors that ran at a single time are left out.

    Args:
        rows: From :func:`~memdet.tables.report_rows`. Detectors that differ in the option ``t`` alone share a line;
            without it the time is the detector's default, shown as the first step.

    Raises:
        UserError: No detector was run at several times.
    """
    lines: dict[tuple[str, ...], dict[str, dict[int | None, Row]]] = {}
    for row in rows:
        base, t = split_time(row["detector"])
        key = (row["run"], row["sample_set"], row["sample_set_version"])
        lines.setdefault(key, {}).setdefault(base, {})[t] = row
    timed = ({base: cells for base, cells in of_set.items() if len(cells) > 1} for of_set in lines.values())
    tables = [_table(of_set) for of_set in timed if of_set]
    if not tables:
        raise UserError("no detector was run at several times: run one with and without the option t, wen2024@t=200")
    return tables


FORMATS: dict[str, Callable[[Rows], str]] = {
    "table": lambda rows: text.on_screen(tables_of(rows)),
    "markdown": by_time,
}


def _table(lines: dict[str, dict[int | None, Row]]) -> Table:
    """The latest time first, which is that of the first step."""
    times = sorted({t for cells in lines.values() for t in cells}, key=lambda t: -(t if t is not None else 10**9))
    first = next(iter(next(iter(lines.values())).values()))
    headers = [FIRST if t is None else f"t = {t}" for t in times]
    columns = (Column(name, "right", drop=len(times) - i, brief=name) for i, name in enumerate(headers))
    return Table(
        (*left("AUROC at"), *columns),
        [[base, *(interval(cells[t], "auroc") if t in cells else "" for t in times)] for base, cells in lines.items()],
        table_title([first]),
    )


def split_time(label: str) -> tuple[str, int | None]:
    """A detector's label without the option ``t``, and that option.

    Example:
        >>> split_time("jeon2025@t=200,power=1"), split_time("wen2024")
        (('jeon2025@power=1', 200), ('wen2024', None))
    """
    base, t = split_option(label, "t")
    return base, None if t is None else int(t)
