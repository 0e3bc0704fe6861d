"""A run held against published figures: which figures are about what it measured, and which lie in its intervals.

The rules, written before there were numbers:

1. A figure is compared with a row of the same sample set and detector, if model, number of prompts of each class,
   steps, guidance and noise seeds are the same. What differs is said, and no number is compared.
2. It agrees if it lies within the run's 95 % interval. It is known to three decimal places, so half a unit of the
   third place is allowed on either side.
3. The paper's own error is not added. Both are about the same prompts, so that most of it is common to both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memdet.errors import UserError
from memdet.published.figures import ROUNDING, Figure, published_figures, sets_with_figures
from memdet.results import Run
from memdet.results.manifest import SampleSetEntry
from memdet.tables.numbers import counted
from memdet.tables.rows import Row, rows_of

NO_INTERVAL = "the run has no number here"


@dataclass(frozen=True)
class Comparison:
    """A published figure beside what a run measured.

    Attributes:
        figure: Of the paper.
        run: Name of the run.
        sample_set_version: Of the run's sample set.
        measured, low, high: Of the run; None where it has no number, or where the two are not comparable.
        differs: Why the two are not comparable; empty where they are.
    """

    figure: Figure
    run: str
    sample_set_version: int
    measured: float | None = None
    low: float | None = None
    high: float | None = None
    differs: str = ""

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        return None if self.measured is None else self.measured - self.figure.value

    @property
    def agrees(self) -> bool | None:
        """Whether the figure lies within the interval; None where there is none.

        Example:
            >>> figure = published_figures()[0]  # .908
            >>> [Comparison(figure, "run", 1, 0.9, 0.88, high).agrees for high in (0.92, 0.9076, 0.907, None)]
            [True, True, False, None]
        """
        if self.low is None or self.high is None:
            return None
        return self.low - ROUNDING <= self.figure.value <= self.high + ROUNDING


@dataclass(frozen=True)
class Against:
    """Runs against published figures.

    Attributes:
        comparisons: In the order of the runs' rows.
        without: What of the runs has no figure, by sample set: detectors, controls left out.
    """

    comparisons: Sequence[Comparison]
    without: dict[str, list[str]]

    @property
    def compared(self) -> list[Comparison]:
        """Those that have an interval."""
        return [one for one in self.comparisons if one.agrees is not None]


def against_published(runs: Iterable[Run | Path], figures: Sequence[Figure] | None = None) -> Against:
    """Hold finished runs against published figures.

    Args:
        runs: Runs, or their directories.
        figures: To hold them against; None takes those that come with memdet.

    Raises:
        UserError: Nothing of the runs has a published counterpart, or a run is a scan.
    """
    known = published_figures() if figures is None else figures
    comparisons: list[Comparison] = []
    without: dict[str, list[str]] = {}
    names: list[str] = []
    for given in runs:
        run = Run.of(given)
        names += [name for name, _ in run.sets]
        for row in rows_of(run):
            own = [one for one in known if (one.sample_set, one.detector) == (row["sample_set"], row["detector"])]
            comparisons += [_compared(figure, row, run.manifest.sample_set(figure.sample_set)) for figure in own]
            if not own and row["access"] not in {"none", "text"}:
                without.setdefault(row["sample_set"], []).append(row["detector"])
    if not comparisons:
        held = ", ".join(dict.fromkeys(names)) or "nothing"
        have = ", ".join(sets_with_figures()) if figures is None else "other sets"
        raise UserError(
            f"nothing of this has a published counterpart: figures are known of {have} with the detectors that "
            f"`memdet reproduce published` runs, and this holds {held}"
        )
    return Against(comparisons, without)


def _compared(figure: Figure, row: Row, entry: SampleSetEntry | None) -> Comparison:
    version = int(row["sample_set_version"])
    if differs := "; ".join(_differences(figure, row, entry)):
        return Comparison(figure, row["run"], version, differs=differs)
    measured, low, high = (row[f"{figure.measure}{end}"] for end in ("", "_low", "_high"))
    lacks = "" if None not in (measured, low, high) else NO_INTERVAL
    if row["status"] != "ok":
        lacks = f"{row['status']}: {row['message']}" if row["message"] else row["status"]
    return Comparison(figure, row["run"], version, measured, low, high, lacks)


def _differences(figure: Figure, row: Row, entry: SampleSetEntry | None) -> list[str]:
    """What a run did otherwise than the paper, in words."""
    found = []
    here = (row["n_positive"], row["n_negative"])
    if here != (figure.n_memorized, figure.n_other):
        prompts = f"{figure.n_memorized} memorized prompts and {figure.n_other} not"
        found.append(f"published for {prompts}, here {here[0]} and {here[1]}")
    if row["seeds"] != figure.seeds:
        found.append(f"taken with {counted(figure.seeds, 'noise seed')}, here {row['seeds']}")
    if entry is None:
        return [*found, "the run does not say its model and protocol"]
    model = (entry.model or "").rstrip("/").rpartition("/")[2].partition("@")[0]
    if model != figure.model:
        found.append(f"published for {figure.model}, here {model or 'a model without a name'}")
    if entry.steps != figure.steps:
        found.append(f"published for {figure.steps} steps, here {entry.steps}")
    if figure.guidance is not None and entry.guidance != figure.guidance:
        found.append(f"published for guidance {figure.guidance:g}, here {entry.guidance}")
    return found
