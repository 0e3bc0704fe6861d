"""AUROC by the number of noise draws that a score averages: a column a number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path

from memdet.errors import UserError
from memdet.io_utils import json_text
from memdet.metrics import METRICS_VERSION, auroc_of_draws
from memdet.results.run import Run, SetKey, status_of
from memdet.results.scores import MeanScores
from memdet.tables.formats import markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.numbers import bounded, defined, number
from memdet.tables.rows import Row, Rows, refuse_scan
from memdet.tables.table import Column, Table, left

FIELDS = (
    "run",
    "sample_set",
    "sample_set_version",
    "detector",
    "seeds",
    "n",
    "auroc",
    "auroc_low",
    "auroc_high",
    "sd",
    "metrics_version",
)
LEGEND = (
    "n: the number of noise draws that a score averages. A cell is the mean AUROC over choices of n of the run's "
    "draws, ± the standard deviation of the AUROC from choice to choice on these items; in brackets, the 95 % "
    "interval for other items and other draws. Detectors that no draw moves are left out. Metrics version "
    f"{METRICS_VERSION}."
)
_OF_TABLE = ("run", "sample_set", "sample_set_version")


def draw_rows(runs: Iterable[Run | Path], counts: Sequence[int] | None = None) -> list[Row]:
    """How the AUROC of each detector grows with the draws, and how far single draws spread.

    Args:
        runs: Runs, or their directories.
        counts: Numbers of draws; those above a detector's own are left out. None takes 1, 2, 4 and so on, and all.

    Returns:
        Dictionaries with the keys of :data:`FIELDS`, one a run, sample set, detector and number ``n``: see
        :func:`~memdet.metrics.auroc_of_draws`. Undefined numbers are None.

    Raises:
        UserError: No detector has scores of several noise seeds, or a run is a scan, whose items have no labels.
    """
    rows = []
    for given in runs:
        run = Run.of(given)
        refuse_scan(run)
        for key in run.sets:
            rows += [{"run": run.name} | row for row in _rows_of_set(run, key, counts)]
    if not rows:
        raise UserError(
            "no detector was scored at several noise seeds: make the run again with more `seeds`", parameters=("seeds",)
        )
    return rows


def _rows_of_set(run: Run, key: SetKey, counts: Sequence[int] | None) -> Iterator[Row]:
    tables = run.tables(key)
    for entry in run.detectors:
        if entry.label not in tables or not entry.bound_to_seeds:
            continue
        table = tables[entry.label]
        if status_of(table, is_control=entry.is_control) != "ok":
            continue
        means = MeanScores.of(table)
        means.add(entry.label, table)
        (by_seed,) = means.draws([entry.label])
        if by_seed is None or not 0 < means.labels.sum() < len(means.labels):
            continue
        seeds = by_seed.shape[1]
        for n in _powers(seeds) if counts is None else [count for count in counts if count <= seeds]:
            found = auroc_of_draws(by_seed, means.labels, means.clusters, n=n)
            yield {
                "sample_set": key[0],
                "sample_set_version": key[1],
                "detector": entry.label,
                "seeds": seeds,
                "n": n,
                "auroc": defined(found.auroc.value),
                "auroc_low": defined(found.auroc.low),
                "auroc_high": defined(found.auroc.high),
                "sd": defined(found.sd),
                "metrics_version": METRICS_VERSION,
            }


def _powers(seeds: int) -> list[int]:
    """1, 2, 4 and so on below a number, and the number."""
    return [*(2**power for power in range(seeds.bit_length()) if 2**power < seeds), seeds]


def tables_of(rows: Rows) -> list[Table]:
    """A table for each run and sample set, a line for each detector."""
    several = len({row["run"] for row in rows}) > 1
    tables = []
    for key, group in groupby(rows, key=lambda row: tuple(row[name] for name in _OF_TABLE)):
        cells: dict[str, dict[int, str]] = {}
        for row in group:
            spread = f"{number(row['auroc'])} ± {number(row['sd'])}"
            cells.setdefault(row["detector"], {})[row["n"]] = bounded(spread, row["auroc_low"], row["auroc_high"])
        numbers = sorted({n for of_detector in cells.values() for n in of_detector})
        title = f"{key[1]} v{key[2]}" + (f", run {key[0]}" if several else "")
        lines = [[label, *(found.get(n, "") for n in numbers)] for label, found in cells.items()]
        # Of those between one draw and all the largest go first; one and all stay longest.
        order = {n: len(numbers) - i if 0 < i < len(numbers) - 1 else len(numbers) + 1 for i, n in enumerate(numbers)}
        columns = (Column(f"n = {n}", "right", drop=order[n], brief=f"n = {n}") for n in numbers)
        tables.append(Table((*left("detector"), *columns), lines, title))
    return tables


FORMATS: dict[str, Callable[[Rows], str]] = {
    "table": lambda rows: text.on_screen([*tables_of(rows), LEGEND]),
    "json": lambda rows: json_text(list(rows)),
    "csv": lambda rows: to_csv(rows, FIELDS),
    "markdown": lambda rows: markdown.document([*map(markdown.plain_table, tables_of(rows)), LEGEND]),
}
