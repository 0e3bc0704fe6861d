"""The tables of runs: one for each sample set, a line for each detector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

from memdet.detectors.base import is_control
from memdet.io_utils import json_text
from memdet.metrics import METRICS_VERSION
from memdet.tables.formats import latex, markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.formats.model_index import to_model_index
from memdet.tables.numbers import UNDEFINED, count, counted, interval, number
from memdet.tables.rows import FIELDS, Row, Rows
from memdet.tables.table import Table, left, notes_by_message, right

COLUMNS = (
    *left("detector"),
    *right("AUROC"),
    *right("group", drop=9, best="low"),
    *right("TPR at 1 % FPR", drop=7, brief="TPR@1%"),
    *right("gain over control", drop=8, brief="gain"),
    *right("rank corr.", drop=4),
    *right("F", "JVP", "VJP", drop=5, best="low"),
    *right("ms / item", drop=3, best="low"),
    *left("status", drop=2),
)
HEADERS = tuple(column.header for column in COLUMNS)
GROUP = (
    "group: group 1 holds the detector with the highest AUROC and every detector that does not differ from it "
    "significantly; group 2 is made from the remaining detectors in the same way, and so on. The tests are paired, "
    "respect clusters and noise draws, and are adjusted over all pairs after Holm, at .05."
)
INTERVALS = (
    "Brackets: 95 % intervals. They cover chance in the items and in the noise draws; a noise seed is one draw, which "
    "moves the scores of all items together. In a table that says one draw, they cover chance in the items only."
)
COST = "network forwards and Jacobian products per item, summed over all noise seeds that its score averages"
LEGEND = (
    f"{INTERVALS} {GROUP} F, JVP, VJP: {COST}. ms / item: time over the same seeds, on the machine of the run, as "
    "if the detector ran alone. gain: AUROC minus the AUROC of the best control. rank corr.: Spearman's correlation of "
    "the scores with the measured share of copies. *: control, which never calls the model. Metrics version "
    f"{METRICS_VERSION}."
)
NOT_RESOLVABLE = "not resolvable"
SHOWN = 5  # sample sets in a sentence
_OF_TABLE = ("run", "sample_set", "sample_set_version", "stratum")  # rows that differ in one never share a table


def tables_of(rows: Rows) -> list[Table]:
    """Those of each run's sample sets, or of their strata."""
    tables = []
    several = len({row["run"] for row in rows}) > 1
    for _, group in groupby(rows, key=lambda row: [row[name] for name in _OF_TABLE]):
        members = list(group)
        first = members[0]
        title = table_title(members) + (f", run {first['run']}" if several else "")
        tables.append(Table(COLUMNS, [cells_of(row) for row in members], title, notes_of(members)))
    return tables


def best_first(rows: Rows) -> list[Table]:
    """The tables as a terminal shows them: rows without numbers after those with, and controls last.

    Args:
        rows: As for :func:`tables_of`; their order is that of equally good ones.
    """
    tables = []
    for _, group in groupby(rows, key=lambda row: [row[name] for name in _OF_TABLE]):
        ordered = sorted(group, key=lambda row: (is_control(row["access"]), -_finite(row["auroc"])))
        controls = sum(is_control(row["access"]) for row in ordered)
        told = all(row["status"] == "ok" or row["message"] for row in ordered)  # below the table
        columns = COLUMNS if told else [replace(one, drop=0 if one.header == "status" else one.drop) for one in COLUMNS]
        tables.append((ordered, controls, columns))
    drawn = tables_of([row for ordered, _, _ in tables for row in ordered])
    return [
        replace(table, columns=columns, tail=controls)
        for table, (_, controls, columns) in zip(drawn, tables, strict=True)
    ]


def _finite(auroc: float | None) -> float:
    return -1.0 if auroc is None else auroc


def apart(rows: Rows) -> str:
    """What to say where several runs have a table of one sample set each: why it is not one, and how to get one.

    Returns:
        Empty where each sample set has one table.
    """
    runs: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        runs.setdefault((row["sample_set"], row["sample_set_version"]), set()).add(row["run"])
    several = [f"{name} v{version}" for (name, version), of_set in runs.items() if len(of_set) > 1]
    if not several:
        return ""
    named = ", ".join(several[:SHOWN]) + (f" and {len(several) - SHOWN} more" if len(several) > SHOWN else "")
    return (
        f"{named}: a table for each run, whose groups and gains are of that run alone. For one table of all, put the "
        "runs below one directory and write its leaderboard: memdet leaderboard DIR"
    )


def table_title(rows: Rows) -> str:
    """What a table is about: ``small v1: 4 memorized, 4 not, effective n 4, 2 noise seeds``.

    Where a single draw was made of what moves all items together: ``1 noise seed (one draw)``.
    """
    row = rows[0]
    name = f"{row['sample_set']} v{row['sample_set_version']}" + (f", {row['stratum']}" if row["stratum"] else "")
    seeds = counted(seeds_of(rows), "noise seed")
    size = f"effective n {count(round(row['n_effective'], 1))}"
    one = " (one draw)" if seeds_of(rows) == 1 and any(row.get("draws") == 1 for row in rows) else ""
    return f"{name}: {row['n_positive']} memorized, {row['n_negative']} not, {size}, {seeds}{one}"


def seeds_of(rows: Rows) -> int:
    """Noise seeds over which the ranked rows of a table are averaged; a control's do not count."""
    ranked = [int(row["seeds"]) for row in rows if row.get("ranked", True) and not is_control(row.get("access", ""))]
    return max(ranked or [int(row["seeds"]) for row in rows])


def unranked(row: Row) -> bool:
    """Whether a row has numbers that are not ranked with those of its table."""
    return row["status"] == "ok" and not row.get("ranked", True)  # rows of an older memdet do not say


def notes_of(rows: Rows) -> list[str]:
    """What rows without numbers say for themselves, and why others are not ranked, a line a message."""
    said = [(row["detector"], f"{row['status']}: {row['message']}" if row["message"] else "") for row in rows]
    common = seeds_of(rows)
    why = "averaged over {}, the others over {}: not ranked with them; score it with --seeds {}"
    said += [
        (row["detector"], why.format(counted(row["seeds"], "noise seed"), common, common))
        for row in rows
        if unranked(row)
    ]
    return notes_by_message(said)


def cells_of(row: Row) -> list[str]:
    """A row under ``COLUMNS``."""
    tpr = interval(row, "tpr_at_1_fpr")
    seconds = row["seconds_per_item"]
    counts = row["status"] == "ok"
    return [
        row["detector"] + (" *" if is_control(row["access"]) else ""),
        interval(row, "auroc"),
        group_of(row),
        NOT_RESOLVABLE if tpr == UNDEFINED and counts else tpr,
        interval(row, "gain_over_control", sign=True),
        number(row["rank_correlation"]),
        *(count(row[key] * row["seeds"]) if counts else UNDEFINED for key in ("forwards", "jvps", "vjps")),
        f"{1e3 * seconds * row['seeds']:.2f}" if counts and seconds is not None else UNDEFINED,
        row["status"],
    ]


def group_of(row: Row) -> str:
    """The group of those that are told apart, or a dash; of a row that is not ranked, its noise seeds."""
    if unranked(row):
        return counted(row["seeds"], "seed")
    return UNDEFINED if row["tie_group"] is None else str(row["tie_group"])


def evaluation_parts(row: Row) -> str:
    """What an item costs, over all its noise seeds: ``40 F + 4 VJP``."""
    parts = [(row[name] * row["seeds"], unit) for name, unit in (("forwards", "F"), ("jvps", "JVP"), ("vjps", "VJP"))]
    return " + ".join(f"{count(value)} {unit}" for value, unit in parts if value) or "0"


def _to_latex(rows: Rows) -> str:
    """A label is of the sample set and, where there are several, of the run."""
    named = [(table.title.partition(":")[0] + table.title.partition(", run")[2], table) for table in tables_of(rows)]
    return latex.document(named, LEGEND)


FORMATS: dict[str, Callable[[Rows], str]] = {
    "table": lambda rows: text.on_screen([*best_first(rows), LEGEND]),
    "json": lambda rows: json_text(list(rows)),
    "csv": lambda rows: to_csv(rows, FIELDS),
    "markdown": lambda rows: markdown.document([*map(markdown.plain_table, tables_of(rows)), markdown.escape(LEGEND)]),
    "latex": _to_latex,
    "model-index": to_model_index,
}
