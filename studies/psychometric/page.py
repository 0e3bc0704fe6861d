"""``docs/psychometric.md``: where detectors begin to see, as tables, and what they say, all of it from the rows."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from memdet.detectors.base import is_control
from memdet.tables.by_dose import AT, LEGEND, DoseResponse, crossing, dose_rows
from memdet.tables.formats import markdown
from memdet.tables.numbers import counted, interval, number
from memdet.tables.rows import Row
from memdet.tables.table import Table, left, right

FIGURE = "psychometric.png"
BETWEEN = (0.1, 0.9)  # rates of a dose that shows the passage
RESOLVED = 0.25  # an interval that is wider says little

_INTRODUCTION = """\
# What detectors see as memorization grows

A detector may find a caption whose image is always given back, and miss one whose image is given back now and then.
This page asks how much memorization each detector needs. It uses sample sets of *doses*: a dose is a group of captions
whose images were in the training data the same number of times. Two things are measured for each caption: its
extraction rate, which is the share of its generations (over noise seeds) that copy its image; and its score under each
detector.

In psychophysics, a psychometric function says how well a person sees a stimulus of a given strength. Its threshold is
the strength at which 75 % of pairs are told apart. Here the threshold is *the extraction rate at which a detector's
AUROC reaches .75*. All numbers are from the run `{run}`.
[Statistics](statistics.md#what-a-detector-sees-as-memorization-grows) says how the threshold is computed, and which of
its rules were written before a run was looked at.

![AUROC against the measured extraction rate, a panel per detector](figures/{figure})

Each panel shows one detector. A point with a bar is a dose: the AUROC of its captions with its 95 % interval, at the
mean extraction rate of the dose. The numbers in the first panel are the copies of each image. Doses with nearly the
same rate are drawn beside each other. The line is the AUROC as a function of the extraction rate of single captions,
fitted so that it never falls. It is dotted across gaps of more than .2 in which no caption was measured. A diamond
marks the rate at which the line reaches .75, and the band is the 95 % interval of that rate."""

_COLUMNS = f"""\
In the tables below, the column *{AT}* is the threshold, and every other column is a dose. Its head is the name of the
dose and its mean extraction rate; its cells are AUROCs."""

_AGAIN = """\
`memdet reproduce psychometric --from {run} --out docs` makes this page and its figure again from the score file
(`pip install 'memdet[figures]'` brings matplotlib). `memdet report {run} --by-dose` prints a table per detector."""


def render_psychometric_page(responses: Sequence[DoseResponse], run: str) -> str:
    """The page in Markdown.

    Args:
        responses: From :func:`~memdet.tables.by_dose.dose_responses`.
        run: What the page calls the run, a path from the root of the repository.
    """
    sets = [list(own) for _, own in groupby(responses, key=lambda one: (one.run, one.sample_set, one.version))]
    said = [sentence for own in sets for sentence in (_passage(own[0]), _detectors(own))]
    parts = [_INTRODUCTION.format(run=run, figure=FIGURE), "## What it says", "\n".join(f"- {one}" for one in said)]
    parts[-1] += "\n\n" + _COLUMNS
    for own in sets:
        parts += [f"## {own[0].sample_set} v{own[0].version}", markdown.draw(_table(own))]
    parts += [markdown.plain(LEGEND), _AGAIN.format(run=run)]
    return "\n\n".join(parts) + "\n"


def _passage(one: DoseResponse) -> str:
    """How well the doses of a sample set resolve the rates between no copies and nothing but copies."""
    low, high = BETWEEN
    between = [dose for dose in one.doses if low < dose.extraction < high]
    rates = one.curve.rates
    widest = int(np.diff(rates).argmax())
    text = (
        f"**Rates between 0 and 1 on `{one.sample_set}`.** {len(between) or 'None'} of "
        f"{counted(len(one.doses), 'dose')} {'has' if len(between) < 2 else 'have'} a mean rate between "
        f"{number(low, places=1)} and {number(high, places=1)}. "
    )
    gap = rates[widest + 1] - rates[widest]
    if gap <= RESOLVED:
        return text + f"Neighbouring rates of single captions lie no further apart than {number(gap)}."
    return text + (
        f"No caption at all has a rate between {number(rates[widest])} and {number(rates[widest + 1])}. The data "
        "cannot say where in this gap a detector reaches .75, whatever the estimate is."
    )


def _detectors(own: Sequence[DoseResponse]) -> str:
    """Who reaches .75, how well that is known, and who stands apart."""
    rows = [dose_rows([one])[0] for one in own if not is_control(one.entry.access)]
    by_word = {word: [row for row in rows if row["reached"] == word] for word in ("yes", "already", "never")}
    text = f"**Detectors on `{own[0].sample_set}`.** Of {len(rows)} detectors {len(by_word['yes'])} reach .75 within "
    text += f"the rates that were measured, {len(by_word['already'])} are there already at the lowest "
    text += f"rate, and {len(by_word['never'])} do not reach it at any rate. "
    known = [row for row in by_word["yes"] if _width(row) <= RESOLVED]
    text += f"{len(known) or 'None'} of those that reach it {'has' if len(known) < 2 else 'have'} an interval that is "
    text += f"at most {number(RESOLVED, places=2)} wide. "
    pairs = [(a, b) for a in rows for b in rows if _before(a, b)]
    if not pairs:
        return text + (
            "No interval ends before another begins, so the data do not show that one detector reaches .75 at a lower "
            "rate than another."
        )
    first = min((a for a, _ in pairs), key=lambda row: _ends(row)[1])
    later = sum(a is first for a, _ in pairs)
    return text + (
        f"The interval that ends first is that of `{first['detector']}`, {crossing(first)}; it ends before those of "
        f"{counted(later, 'other detector')} begin."
    )


def _ends(row: Row) -> tuple[float, float]:
    """Interval of a crossing, from below all rates to above them."""
    low, high = row["extraction_at_75_low"], row["extraction_at_75_high"]
    return -np.inf if low is None else float(low), np.inf if high is None else float(high)


def _width(row: Row) -> float:
    low, high = _ends(row)
    return high - low


def _before(a: Row, b: Row) -> bool:
    """Whether one interval ends where another has not begun."""
    return _ends(a)[1] < _ends(b)[0]


def _table(own: Sequence[DoseResponse]) -> Table:
    """A line a detector."""
    doses = [f"{dose.stratum}, rate {number(dose.extraction)}" for dose in own[0].doses]
    lines = []
    for one in own:
        rows = dose_rows([one])
        name = one.entry.label + (r" \*" if is_control(one.entry.access) else "")
        lines.append([name, markdown.plain(crossing(rows[0])), *(interval(row, "auroc") for row in rows)])
    return Table((*left("detector"), *right(AT, *doses)), lines)
