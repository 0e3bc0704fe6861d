"""The picture of ``docs/psychometric.md``: AUROC against the measured extraction rate, a panel per detector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memdet.detectors.base import is_control
from memdet.leaderboard.board import rounded
from memdet.metrics import Interval
from memdet.tables.by_dose import Dose, DoseResponse, crossing, dose_rows
from studies.drawing import BLUE, GREY, ORANGE, STYLE, need_matplotlib, save_small_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# One of each kind: difference of scores, of curvatures, curvature of the first and of a late step, attention, density.
SHOWN = ("wen2024", "curvature-gap", "jeon2025", "hessian-trace@t=200", "bright-ending", "ross2025")
# As many sample sets: of their doses, and paler of their curves.
COLORS = ((BLUE, "#80B9D9"), (ORANGE, "#EAAF80"), ("#009E73", "#80CFB9"), ("#CC79A7", "#E6BCD3"))
COLUMNS, PANEL, TOP, BOTTOM = 3, (2.33, 2.1), 0.28, 0.5  # inches
TARGET, BELOW = 0.75, 0.25  # the lower edge of a panel
EMPTY = 0.2  # two rates with nothing in between are joined by dots
BESIDE = 0.065  # between doses of nearly one rate
LEFT, RIGHT = -0.14, 1.1


def shown_of(responses: Sequence[DoseResponse]) -> dict[str, list[DoseResponse]]:
    """What is drawn: some detectors, each on a few sample sets."""
    sets = list(dict.fromkeys((one.run, one.sample_set, one.version) for one in responses))[: len(COLORS)]
    by_label: dict[str, list[DoseResponse]] = {}
    for one in responses:
        if not is_control(one.entry.access) and (one.run, one.sample_set, one.version) in sets:
            by_label.setdefault(one.entry.label, []).append(one)
    wanted = [label for label in SHOWN if label in by_label] or list(by_label)[: len(SHOWN)]
    return {label: by_label[label] for label in wanted}


def fingerprint(responses: Sequence[DoseResponse]) -> str:
    """Hash of all that is drawn, six digits a number: what the file of the figure keeps as its description."""
    drawn = [
        {"label": label, "rows": dose_rows([one]), "rates": one.curve.rates.tolist(), "auroc": one.curve.auroc.tolist()}
        for label, several in shown_of(responses).items()
        for one in several
    ]
    return hashlib.sha256(json.dumps([rounded(panel) for panel in drawn]).encode()).hexdigest()


def save_psychometric_figure(responses: Sequence[DoseResponse], path: Path) -> None:
    """Draw all panels into a PNG file.

    Raises:
        UserError: matplotlib is not installed.
    """
    need_matplotlib()
    import matplotlib as mpl

    with mpl.rc_context({**STYLE, "font.size": 8.5}):
        save_small_png(draw_psychometric(responses), path, fingerprint(responses))


def draw_psychometric(responses: Sequence[DoseResponse]) -> Figure:
    """The figure; the axis of a detector has its label, and a line of each sample set's name is its curve."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = shown_of(responses)
    sets = list(dict.fromkeys(one.sample_set for several in shown.values() for one in several))
    colors = dict(zip(sets, COLORS, strict=False))
    rows = -(-len(shown) // COLUMNS)
    width, height = COLUMNS * PANEL[0], rows * PANEL[1] + TOP + BOTTOM
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).flat
    figure.subplots_adjust(0.55 / width, BOTTOM / height, 1 - 0.08 / width, 1 - TOP / height, wspace=0.09, hspace=0.24)
    panels = list(shown.items())
    for index, axis in enumerate(axes):
        if index >= len(panels):
            axis.set_axis_off()
            continue
        _frame(axis, panels[index][0])
        for place, one in enumerate(panels[index][1]):
            _draw(axis, one, colors[one.sample_set], place - (len(panels[index][1]) - 1) / 2)
            _say(axis, one, colors[one.sample_set][0], len(panels[index][1]) - 1 - place)
        if not index:
            _explain(axis, panels[0][1])
    figure.supxlabel("measured extraction rate: share of generations that are copies", fontsize=9, y=0.08 / height)
    figure.supylabel("AUROC", fontsize=9, x=0.06 / width)
    return figure


def _frame(axis: Axes, label: str) -> None:
    axis.set_label(label)
    axis.set_title(label, loc="left", fontsize=9, fontweight="bold", pad=5)
    axis.set_xlim(LEFT, RIGHT)
    axis.set_ylim(BELOW, 1.02)
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axis.set_yticks([0.5, TARGET, 1], [".5", ".75", "1"])
    axis.axhline(0.5, color="#DDDDDD", linewidth=0.8, zorder=0)
    axis.axhline(TARGET, color="#BBBBBB", linewidth=0.8, linestyle=(0, (4, 3)), zorder=0)


def _draw(axis: Axes, one: DoseResponse, colors: tuple[str, str], place: float) -> None:
    """Curve, doses and crossing of one sample set."""
    color, pale = colors
    rates, auroc = one.curve.rates, one.curve.auroc
    axis.plot(rates, auroc, linestyle="none", label=one.sample_set)  # the data; the line is in pieces
    for start in range(len(rates) - 1):
        piece = slice(start, start + 2)
        dotted = rates[start + 1] - rates[start] > EMPTY
        style = (0, (1, 1.5)) if dotted else "-"
        axis.plot(rates[piece], auroc[piece], color=pale, linewidth=1.6, linestyle=style, solid_capstyle="round")
    for x, dose in zip(_places(one.doses, place), one.doses, strict=True):
        low, high = _bounds(dose.auroc)
        axis.vlines(x, low, high, color=color, linewidth=1.1, zorder=3)
        axis.plot(x, dose.auroc.value, "o", markersize=4.4, color=color, markeredgecolor="white", markeredgewidth=0.5)
    at, height = one.curve.crossing, TARGET + 0.014 * np.sign(place)
    left, right = max(at.low, LEFT), min(at.high, RIGHT)
    if right > left:
        axis.hlines(height, left, right, color=pale, linewidth=2.2, zorder=1.5)
    if np.isfinite(at.value):
        axis.plot(at.value, height, "D", markersize=4.4, color="white", markeredgecolor=color, markeredgewidth=1.2)


def _places(doses: Sequence[Dose], place: float) -> list[float]:
    """Where doses stand: at their rates, those of nearly one rate in their order beside each other."""
    blocks: list[list[float]] = []  # rates of doses that stand beside each other
    for dose in doses:
        blocks.append([dose.extraction])
        while len(blocks) > 1 and _left(blocks[-1]) < _left(blocks[-2]) + BESIDE * len(blocks[-2]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    shift = BESIDE * (0.5 + 0.36 * place)
    return [_left(block) + BESIDE * index + shift for block in blocks for index in range(len(block))]


def _left(block: Sequence[float]) -> float:
    """Left end of doses beside each other, the middle of which is at the mean of their rates."""
    return float(np.mean(block)) - BESIDE * len(block) / 2


def _bounds(interval: Interval) -> tuple[float, float]:
    """An interval whose bounds are undefined is a point."""
    low, high = (interval.value if np.isnan(end) else end for end in (interval.low, interval.high))
    return max(low, BELOW), high


def _say(axis: Axes, one: DoseResponse, color: str, line: int) -> None:
    """Name of the sample set and its crossing, in its colour."""
    _corner(axis, line, f"{one.sample_set.removesuffix('-dose')}  {crossing(dose_rows([one])[0])}", color)


def _explain(axis: Axes, several: Sequence[DoseResponse]) -> None:
    """Copies of the first sample set's doses, below them, and what the corner says."""
    first = several[0]
    for x, dose in zip(_places(first.doses, 0), first.doses, strict=True):
        lows = [_bounds(other.auroc)[0] for one in several for other in one.doses if other.stratum == dose.stratum]
        name = dose.stratum if dose.copies is None else str(dose.copies)
        _write(axis, min(x, RIGHT - 0.14), min(lows) - 0.015, name, fontsize=7, color=GREY, ha="center", va="top")
    _corner(axis, len(several), "reaches .75 at a rate of", GREY)


def _corner(axis: Axes, line: int, text: str, color: str) -> None:
    """Write into the lower right corner, lines counted from below."""
    height = BELOW + 0.02 + 0.07 * line
    _write(axis, RIGHT - 0.02, height, text, fontsize=7.5, color=color, ha="right", va="bottom")


def _write(axis: Axes, x: float, y: float, text: str, **look: Any) -> None:
    """Text that stays readable upon lines."""
    from matplotlib.patheffects import withStroke

    axis.text(x, y, text, zorder=5, **look).set_path_effects([withStroke(linewidth=2, foreground="white")])
