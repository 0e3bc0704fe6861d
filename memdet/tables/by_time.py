"""AUROC of detectors of one time, a column a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memdet.results.labels import split_option
from memdet.tables.run_table import interval, markdown_line, table_title

FIRST = "first step"


def by_time(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a table a sample set, a line a detector, a column a time; detectors of a single time are left out.

    Args:
        rows: From :func:`~memdet.tables.report_rows`. Detectors that differ in the option ``t`` alone share a line;
            without it the time is the detector's default, shown as the first step.
    """
    tables: dict[tuple[str, ...], dict[str, dict[int | None, dict[str, Any]]]] = {}
    for row in rows:
        base, t = split_time(row["detector"])
        key = (row["run"], row["sample_set"], row["sample_set_version"])
        tables.setdefault(key, {}).setdefault(base, {})[t] = row
    parts = []
    for lines in tables.values():
        timed = {base: cells for base, cells in lines.items() if len(cells) > 1}
        if not timed:
            continue
        times = sorted({t for cells in timed.values() for t in cells}, key=lambda t: -(t if t is not None else 10**9))
        first = next(iter(next(iter(timed.values())).values()))
        table = [
            f"**{table_title(first, first['seeds'])}**",
            "",
            markdown_line(["AUROC at", *(FIRST if t is None else f"t = {t}" for t in times)]),
            markdown_line(["---"] + ["--:"] * len(times)),
        ]
        for base, cells in timed.items():
            table.append(markdown_line([base, *(interval(cells[t], "auroc") if t in cells else "" for t in times)]))
        parts.append("\n".join(table))
    return "\n\n".join(parts)


def split_time(label: str) -> tuple[str, int | None]:
    """A detector's label without the option ``t``, and that option.

    Example:
        >>> split_time("jeon2025@t=200,power=1"), split_time("wen2024")
        (('jeon2025@power=1', 200), ('wen2024', None))
    """
    base, t = split_option(label, "t")
    return base, None if t is None else int(t)
