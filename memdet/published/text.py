"""Runs against published figures, as tables and as data; and the table of all figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

from memdet.io_utils import json_text
from memdet.published.against import Against, Comparison
from memdet.published.figures import MEASURES, Figure
from memdet.tables.formats import markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.numbers import UNDEFINED, bounded, counted, number, signed
from memdet.tables.rows import Row
from memdet.tables.table import Column, Table, left, notes_by_message, right

FIELDS = (
    *("run", "sample_set", "sample_set_version", "detector", "generations", "measure"),
    *("published", "measured", "measured_low", "measured_high", "difference", "agrees", "differs"),
    *("paper", "arxiv", "place", "note"),
)
COLUMNS = (
    *left("detector"),
    *right("n", drop=2, best="low"),
    *left("measure"),
    *right("published"),
    *right("measured"),
    *right("difference", drop=1),
    *left("published is"),
)
LEGEND = (
    "n: generations of a prompt in the paper, noise seeds here. within: the published figure lies in the run's 95 % "
    "interval, which is of these items and, with several noise seeds, of draws; a run of one draw has an interval of "
    "items alone, and the paper's draw was another one. Papers' code takes the TPR at the rate of false positives that "
    "is nearest to 1 %, memdet at one of 1 % at most."
)
_VERDICTS = {True: "within", False: "outside", None: UNDEFINED}


def tables_of(found: Against) -> list[Table]:
    """One of each run and sample set, a line for each figure that was compared."""
    tables = []
    several = len({one.run for one in found.comparisons}) > 1
    for (run, name, version), group in groupby(
        found.comparisons, key=lambda one: (one.run, one.figure.sample_set, one.sample_set_version)
    ):
        members = list(group)
        shown = [one for one in members if one.agrees is not None]
        title = f"{name} v{version} against published figures" + (f", run {run}" if several else "")
        notes = [
            *notes_by_message((_named(one.figure), one.differs) for one in members),
            *notes_by_message([(detector, "no published figure") for detector in found.without.get(name, [])]),
            *dict.fromkeys(f"Source: {one.figure.source}." for one in members),
        ]
        tables.append(Table(COLUMNS, [_cells(one) for one in shown], title, notes))
    return tables


def verdict(found: Against) -> str:
    """How many figures agree, in a sentence or two, and which do not.

    Example:
        >>> verdict(Against([], {}))
        'No published figure could be compared.'
    """
    compared = found.compared
    if not compared:
        return "No published figure could be compared."
    outside = [one for one in compared if not one.agrees]
    few = len(compared) - len(outside)
    said = f"{few} of {counted(len(compared), 'published figure')} {'lies' if few == 1 else 'lie'} within the interval."
    if outside:
        named = (
            f"{MEASURES[one.figure.measure]} of {_named(one.figure)} on {one.figure.sample_set}" for one in outside
        )
        by = (signed(_difference(one)) for one in outside)
        said += " Outside, measured minus published: " + ", ".join(map(" ".join, zip(named, by, strict=True))) + "."
    return said


def comparison_rows(found: Against) -> list[Row]:
    """Dictionaries with the keys of :data:`FIELDS`; numbers that are not there are None."""
    return [
        {
            "run": one.run,
            "sample_set_version": one.sample_set_version,
            "published": one.figure.value,
            "measured": one.measured,
            "measured_low": one.low,
            "measured_high": one.high,
            "difference": one.difference,
            "agrees": one.agrees,
            "differs": one.differs,
        }
        | {
            name: getattr(one.figure, name)
            for name in ("sample_set", "detector", "generations", "measure", "paper", "arxiv", "place", "note")
        }
        for one in found.comparisons
    ]


def figures_table(figures: Sequence[Figure]) -> Table:
    """All figures: a line for each detector and n, two columns for each model.

    Args:
        figures: Those of one number stand once.
    """
    models = list(dict.fromkeys(one.model for one in figures))
    lines: dict[tuple[str, str, int], dict[tuple[str, str], str]] = {}
    for one in figures:
        line = lines.setdefault((one.source, one.detector, one.generations), {})
        line[one.model, one.measure] = number(one.value)
    columns = [Column(f"{model}: {words}", "right") for model in models for words in MEASURES.values()]
    rows = [
        [f"`{detector}`", str(n), *(line.get((model, measure), "") for model in models for measure in MEASURES)]
        for (_, detector, n), line in lines.items()
    ]
    return Table((*left("detector"), *right("n"), *columns), rows)


def _cells(one: Comparison) -> list[str]:
    return [
        one.figure.detector,
        str(one.figure.generations),
        MEASURES[one.figure.measure],
        number(one.figure.value),
        bounded(number(one.measured), one.low, one.high),
        signed(_difference(one)),
        _VERDICTS[one.agrees],
    ]


def _difference(one: Comparison) -> float:
    assert one.difference is not None
    return one.difference


def _named(figure: Figure) -> str:
    return f"{figure.detector} (n = {figure.generations})"


FORMATS: dict[str, Callable[[Against], str]] = {
    "table": lambda found: text.on_screen([*tables_of(found), verdict(found), LEGEND]),
    "json": lambda found: json_text(comparison_rows(found)),
    "csv": lambda found: to_csv(comparison_rows(found), FIELDS),
    "markdown": lambda found: markdown.document(
        [*map(markdown.plain_table, tables_of(found)), markdown.plain(verdict(found)), markdown.plain(LEGEND)]
    ),
}
