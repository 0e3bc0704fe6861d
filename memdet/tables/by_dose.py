"""What each detector sees as memorization grows: AUROC by dose, and the extraction rate at which it reaches .75."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd

from memdet.detectors.base import is_control
from memdet.io_utils import json_text
from memdet.metrics import METRICS_VERSION, Interval, PsychometricCurve, auroc_interval, psychometric_curve
from memdet.results.manifest import DetectorEntry
from memdet.results.run import Run, SetKey, status_of
from memdet.results.scores import Floats, MeanScores
from memdet.tables.formats import markdown, text
from memdet.tables.formats.csv import to_csv
from memdet.tables.numbers import bounded, counted, defined, interval, number
from memdet.tables.rows import Row, Rows, refuse_scan
from memdet.tables.set_statistics import draws_of
from memdet.tables.table import Table, left, notes_by_message, right

FIELDS = (
    "run",
    "sample_set",
    "sample_set_version",
    "detector",
    "access",
    "stratum",
    "copies",
    "n_positive",
    "n_negative",
    "extraction",
    "auroc",
    "auroc_low",
    "auroc_high",
    "reached",
    "extraction_at_75",
    "extraction_at_75_low",
    "extraction_at_75_high",
    "lowest_extraction",
    "highest_extraction",
    "seeds",
    "draws",
    "metrics_version",
)
DOSE, MOST = re.compile(r"copies-(\d+)"), "verbatim"  # strata of so many copies, and of the most
AT = "rate at AUROC .75"
LEGEND = (
    "extraction: the measured share of generations that are copies. AUROC: of the items of one dose against all items "
    f"that are not memorized. {AT}: the extraction rate at which the AUROC reaches .75. It is read from a curve that "
    "is fitted to single items and never falls. never: the curve is below .75 even at the highest measured rate. < x: "
    "it is .75 or more already at the lowest measured rate; x is the lowest rate above 0. Brackets: 95 % intervals "
    "over items and noise draws. [> x] or [< x]: an interval that has this end only. Where never or < x has no "
    "brackets, the whole interval says the same. *: control, never calls the model. Detectors without scores on a set "
    f"are left out. Metrics version {METRICS_VERSION}."
)
PLACES = 80  # of a terminal
_OF_TABLE = ("run", "sample_set", "sample_set_version")
_WHY = {
    "doses": f"left out: no doses of memorized items (at least two strata named copies-N or {MOST})",
    "negatives": "left out: the items that are not memorized are in several strata",
    "extraction": "left out: not every memorized item has a measured extraction rate",
    "spread": "left out: all memorized items have the same measured extraction rate",
}


@dataclass(frozen=True)
class Dose:
    """Memorized items of one dose, as a detector sees them.

    Attributes:
        stratum: Name, ``copies-64`` or ``verbatim``.
        items: How many.
        extraction: Mean of their measured rates.
        auroc: Against all items that are not memorized.
    """

    stratum: str
    items: int
    extraction: float
    auroc: Interval

    @property
    def copies(self) -> int | None:
        """Copies of each image in the training set; None where the name does not say."""
        return copies_of(self.stratum)


@dataclass(frozen=True)
class DoseResponse:
    """What a detector sees on a sample set of doses.

    Attributes:
        run: Name of the run.
        sample_set, version: The set.
        entry: The detector.
        doses: From few copies to many.
        curve: AUROC against the measured rates of single items.
        n_negative: Items that are not memorized.
        seeds: Noise seeds that a score is averaged over.
        draws: Noise draws that intervals hold, as in :func:`~memdet.tables.rows.rows_of`.
    """

    run: str
    sample_set: str
    version: int
    entry: DetectorEntry
    doses: list[Dose]
    curve: PsychometricCurve
    n_negative: int
    seeds: int
    draws: int | None

    @property
    def measured(self) -> tuple[float, float]:
        """The lowest rate of an item that is not 0, and the highest."""
        rates = self.curve.rates
        return float(rates[rates > 0][0]), float(rates[-1])


def copies_of(stratum: str) -> int | None:
    """Copies that the name of a dose says.

    Example:
        >>> copies_of("copies-64"), copies_of("verbatim")
        (64, None)
    """
    found = DOSE.fullmatch(stratum)
    return int(found[1]) if found else None


def dose_responses(runs: Iterable[Run | Path]) -> tuple[list[DoseResponse], list[str]]:
    """What the detectors see on each sample set of doses.

    Args:
        runs: Runs, or their directories.

    Returns:
        One a run, sample set and detector with scores, in their order; and why other sample sets are left out, a line
        a reason.

    Raises:
        UserError: A run is a scan, whose items have no labels.
    """
    found, left_out = [], []
    for given in runs:
        run = Run.of(given)
        refuse_scan(run)
        for key in run.sets:
            items = _items_of(run, key)
            if why := _why_not(items):
                left_out.append((key[0], _WHY[why]))
            else:
                found += list(_responses(run, key, items))
    return found, notes_by_message(left_out)


def dose_rows(responses: Iterable[DoseResponse]) -> list[Row]:
    """A row a detector and dose, with the keys of :data:`FIELDS`.

    ``extraction_at_75`` is a number where ``reached`` is ``yes``. It is None where it is ``never``, which is above
    ``highest_extraction``, or ``already``, which is below ``lowest_extraction``. A bound that is None is open. The
    detector's own fields stand in each of its rows.
    """
    return [_row(response, dose) for response in responses for dose in response.doses]


def _items_of(run: Run, key: SetKey) -> pd.DataFrame:
    """``label, stratum, extraction`` by item id."""
    tables = run.tables(key)
    table = tables[next(iter(tables))].drop_duplicates("item_id").set_index("item_id")
    return table[["label", "stratum", "extraction"]]


def _why_not(items: pd.DataFrame) -> str:
    """A key of ``_WHY``; empty for a sample set of doses."""
    memorized = items[items["label"] == 1]
    strata = set(memorized["stratum"])
    if len(strata) < 2 or not all(DOSE.fullmatch(stratum) or stratum == MOST for stratum in strata):
        return "doses"
    if items.loc[items["label"] == 0, "stratum"].nunique() != 1:
        return "negatives"
    if memorized["extraction"].isna().any():
        return "extraction"
    return "spread" if memorized["extraction"].nunique() == 1 else ""


def _responses(run: Run, key: SetKey, items: pd.DataFrame) -> Iterator[DoseResponse]:
    of_set, tables = run.manifest.sample_set(key[0]), run.tables(key)
    noise = of_set.noise if of_set is not None and of_set.version == key[1] else None
    for entry in run.detectors:
        if entry.label not in tables:
            continue
        table = tables[entry.label]
        if status_of(table, is_control=entry.is_control) != "ok":
            continue
        means = MeanScores.of(table)
        means.add(entry.label, table, moved=entry.bound_to_seeds)
        (by_seed,) = means.draws([entry.label])
        scores, of_item = means.scores[entry.label], items.loc[means.items.index]
        extraction, strata = of_item["extraction"].to_numpy(np.float64), of_item["stratum"].to_numpy(str)
        yield DoseResponse(
            run=run.name,
            sample_set=key[0],
            version=key[1],
            entry=entry,
            doses=_doses(means, scores, by_seed, strata),
            curve=psychometric_curve(scores, means.labels, extraction, means.clusters, strata=strata, by_seed=by_seed),
            n_negative=int((means.labels == 0).sum()),
            seeds=int(table["seed"].nunique()),
            draws=draws_of(entry, table, noise),
        )


def _doses(means: MeanScores, scores: Floats, by_seed: Floats | None, strata: np.ndarray) -> list[Dose]:
    """From few copies to many."""
    found = []
    for stratum in sorted(set(strata[means.labels == 1]), key=_order):
        kept = (strata == stratum) & (means.labels == 1)
        own = kept | (means.labels == 0)
        of_own = None if by_seed is None else by_seed[own]
        auroc = auroc_interval(scores[own], means.labels[own], means.clusters[own], by_seed=of_own)
        extraction = float(means.items["extraction"].to_numpy(np.float64)[kept].mean())
        found.append(Dose(str(stratum), int(kept.sum()), extraction, auroc))
    return found


def _order(stratum: str) -> tuple[bool, int]:
    copies = copies_of(stratum)
    return copies is None, copies or 0


def _row(response: DoseResponse, dose: Dose) -> Row:
    at, (lowest, highest) = response.curve.crossing, response.measured
    return {
        "run": response.run,
        "sample_set": response.sample_set,
        "sample_set_version": response.version,
        "detector": response.entry.label,
        "access": response.entry.access,
        "stratum": dose.stratum,
        "copies": dose.copies,
        "n_positive": dose.items,
        "n_negative": response.n_negative,
        "extraction": dose.extraction,
        "auroc": defined(dose.auroc.value),
        "auroc_low": defined(dose.auroc.low),
        "auroc_high": defined(dose.auroc.high),
        "reached": "yes" if np.isfinite(at.value) else "never" if at.value > 0 else "already",
        "extraction_at_75": defined(at.value),
        # Never is beyond the highest rate and already below the lowest, and so says a bound that has one of them.
        "extraction_at_75_low": defined(min(at.low, highest)),
        "extraction_at_75_high": defined(max(at.high, lowest)),
        "lowest_extraction": lowest,
        "highest_extraction": highest,
        "seeds": response.seeds,
        "draws": response.draws,
        "metrics_version": METRICS_VERSION,
    }


def crossing(row: Row) -> str:
    """Where a row's detector reaches .75, with the ends of the interval that it has.

    Example:
        >>> ends = {"extraction_at_75_low": 0.25, "extraction_at_75_high": None, "lowest_extraction": 0.125}
        >>> crossing({"reached": "yes", "extraction_at_75": 0.4} | ends)
        '.400 [> .250]'
        >>> crossing({"reached": "never", "extraction_at_75": None, "highest_extraction": 1.0} | ends)
        'never [> .250]'
    """
    words = {"never": "never", "already": f"< {number(row['lowest_extraction'])}"}
    said: str = words.get(row["reached"]) or number(row["extraction_at_75"])
    low, high = row["extraction_at_75_low"], row["extraction_at_75_high"]
    if (row["reached"] == "never" and low == row["highest_extraction"]) or (
        row["reached"] == "already" and high == row["lowest_extraction"]
    ):
        return said  # and so says the whole interval
    if low is not None and high is not None:
        return bounded(said, low, high)
    if low is None and high is None:
        return f"{said} [no bound]"
    bound = f"< {number(high)}" if low is None else f"> {number(low)}"
    return f"{said} [{bound}]"


def tables_of(rows: Rows) -> list[Table]:
    """Of each run and sample set one of its detectors, and then one for each detector, a line for each dose."""
    several = len({row["run"] for row in rows}) > 1
    tables = []
    for key, group in groupby(rows, key=lambda row: tuple(row[name] for name in _OF_TABLE)):
        by_detector = [list(own) for _, own in groupby(group, key=lambda row: row["detector"])]
        first = by_detector[0]
        of_run = f", run {key[0]}" if several else ""
        size = f"{sum(row['n_positive'] for row in first)} memorized in {counted(len(first), 'dose')}"
        title = f"{key[1]} v{key[2]}: {size}, {first[0]['n_negative']} not{of_run}"
        lines = [[_name(own[0]), crossing(own[0])] for own in by_detector]
        tables.append(Table((*left("detector"), *right(AT)), lines, title))
        tables += [_of_detector(own, of_run) for own in by_detector]
    return tables


def _of_detector(rows: list[Row], of_run: str) -> Table:
    columns = (*left("dose"), *right("items", drop=1), *right("extraction", drop=2), *right("AUROC"))
    lines = [
        [row["stratum"], str(row["n_positive"]), number(row["extraction"]), interval(row, "auroc")] for row in rows
    ]
    title = f"{_name(rows[0])} on {rows[0]['sample_set']}"
    return Table(columns, lines, title, [f"{AT}: {crossing(rows[0])}{of_run}"])


def _name(row: Row) -> str:
    return str(row["detector"]) + (" *" if is_control(row["access"]) else "")


FORMATS: dict[str, Callable[[Rows], str]] = {
    "table": lambda rows: text.on_screen([*tables_of(rows), textwrap.fill(LEGEND, PLACES)]),
    "json": lambda rows: json_text(list(rows)),
    "csv": lambda rows: to_csv(rows, FIELDS),
    "markdown": lambda rows: markdown.document([*map(markdown.plain_table, tables_of(rows)), markdown.plain(LEGEND)]),
}
