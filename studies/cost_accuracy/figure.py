"""The picture of ``docs/cost-accuracy.md``: accuracy against evaluations, a panel per sample set and measure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memdet.detectors.base import is_control
from memdet.leaderboard.board import rounded
from studies.cost_accuracy.fronts import MEASURES, ORACLE, Row, SetFronts, evaluations
from studies.drawing import BLUE, GREY, ORANGE, STYLE, need_matplotlib, save_small_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

FLOOR = 0.45  # of a panel in AUROC, as on the page; what lies below is drawn on it
NAMED = 0.01  # the front's points are named where they rise by this above the best control and the last that is named
COMPARED = ("wen2024", "jeon2025")  # named in AUROC panels where they are well behind the front and there is place
NEAR, CROWDED = 11, 10  # points from mark to name without a line between them; what a place may cost those two
STRETCH = 1.02  # the AUROC axis is -log(1.02 - AUROC): the upper end, where detectors compete, has most of it
VISIBLE = 0.5  # on that axis
LEAST = 0.75  # evaluations at the left edge, where all that costs less is drawn
COLUMNS, PANEL, TOP, BOTTOM = 4, (2.7, 1.95), 0.55, 0.6  # inches
FRONT, DARK, DOT, PALE = BLUE, "#003E63", "#A6A6A6", "#9CC9E3"
Panel = tuple[SetFronts, str] | None


def fingerprint(sets: Sequence[SetFronts]) -> str:
    """Hash of all that is drawn, six digits a number: what the file of the figure keeps as its description."""
    drawn = [
        {
            "sample_set": found.name,
            "measure": measure,
            "points": [[row["detector"], evaluations(row), row[measure]] for row in _shown(found, measure)],
            "front": [row["detector"] for row in found.fronts[measure]],
            "control": found.controls[measure][measure] if measure in found.controls else None,
        }
        for panel in panels_of(sets)
        if panel is not None
        for found, measure in [panel]
    ]
    return hashlib.sha256(json.dumps([rounded(panel) for panel in drawn]).encode()).hexdigest()


def panels_of(sets: Sequence[SetFronts]) -> list[Panel]:
    """What stands in each place of the grid, row by row; None where nothing does.

    A row holds two sets, AUROC on the left and TPR on the right: first those of two models, a and b, then the others.
    Sets that resolve the AUROC alone stand four in a row.
    """
    by_name = {found.name: found for found in sets}
    twins = [(found, by_name.get(found.name.replace("-a-", "-b-"))) for found in sets if "-a-" in found.name]
    pairs = [(a, b) for a, b in twins if b is not None]
    paired = {found.name for pair in pairs for found in pair}
    others = [found for found in sets if found.name not in paired]
    full = [found for found in others if len(found.fronts) == len(MEASURES)]
    half = [found for found in others if len(found.fronts) < len(MEASURES)]
    prefix = commonprefix(sorted(paired)) or "-"
    full.sort(key=lambda found: not found.name.startswith(prefix))
    if len(full) % 2 and half:
        full.insert(1, half.pop(0))
    pairs += list(zip(full[::2], full[1::2], strict=False))
    panels: list[Panel] = []
    for pair in pairs:
        panels += [(found, measure) if measure in found.fronts else None for measure in MEASURES for found in pair]
    if len(full) % 2:
        panels += [panel for measure in MEASURES for panel in ((full[-1], measure), None)]
    panels += [(found, "auroc") for found in half]
    return panels


def save_cost_figure(sets: Sequence[SetFronts], path: Path) -> None:
    """Draw all panels into a PNG file.

    Raises:
        UserError: matplotlib is not installed.
    """
    need_matplotlib()
    import matplotlib as mpl

    with mpl.rc_context({**STYLE, "font.size": 8, "xtick.labelsize": 7.5, "ytick.labelsize": 7.5}):
        save_small_png(draw_cost(sets), path, fingerprint(sets))


def draw_cost(sets: Sequence[SetFronts]) -> Figure:
    """The figure; line ``front`` of an axis named after set and measure holds the front's points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = panels_of(sets)
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * PANEL[0], rows * PANEL[1] + TOP + BOTTOM
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, COLUMNS, squeeze=False).flat
    figure.subplots_adjust(
        0.55 / width, BOTTOM / height, 1 - 0.12 / width, 1 - (TOP + 0.25) / height, wspace=0.3, hspace=0.42
    )
    most = max(1.0, *(evaluations(row) for found in sets for row in found.rows))
    wanted: list[tuple[Axes, list[Any]]] = []
    for index, axis in enumerate(axes):
        panel = panels[index] if index < len(panels) else None
        if panel is None:
            axis.set_axis_off()
            beside = panels[index - 2] if 2 <= index < len(panels) else None
            if beside is not None:
                _say_why(axis, beside[0])
            continue
        wanted.append((axis, _draw(axis, *panel, most)))
    figure.legend(handles=_legend(), loc="upper center", ncols=3, fontsize=8.5, handletextpad=0.6)
    figure.supxlabel("network evaluations an item (F + JVP + VJP), logarithmic", fontsize=9, y=0.12 / height)
    for axis, labels in wanted:
        _place(axis, labels)
    return figure


def _shown(found: SetFronts, measure: str) -> list[Row]:
    return [row for row in found.rows if not is_control(row["access"]) and row[measure] is not None]


def _draw(axis: Axes, found: SetFronts, measure: str, most: float) -> list[Any]:
    """Points, front and control of one panel; returns the points of the front to be named."""
    floor = FLOOR if measure == "auroc" else 0.0
    front = found.fronts[measure]
    on = {row["detector"] for row in front}
    axis.set_label(f"{found.name} {measure}")
    axis.set_xscale("log")
    axis.set_xlim(LEAST, most * 1.5)
    ticks = [10**power for power in range(len(str(int(most * 1.5))))]
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    if measure == "auroc":
        axis.set_yscale("function", functions=(_stretch, _shrink))
        axis.set_ylim(floor - 0.02, 1.001)
        axis.set_yticks([0.5, 0.75, 0.9, 0.97, 1], [".5", ".75", ".9", ".97", "1"])
    else:
        axis.set_ylim(floor - 0.02, 1.03)
        axis.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", ".25", ".5", ".75", "1"])
    axis.set_title(found.name, loc="left", fontsize=8.5, fontweight="bold", pad=4)
    axis.set_ylabel(MEASURES[measure], fontsize=8)
    axis.grid(axis="y", color="#E8E8E8", linewidth=0.6)
    axis.set_axisbelow(True)
    if measure in found.controls:
        control = max(found.controls[measure][measure], floor)
        axis.axhline(control, color=ORANGE, linestyle=(0, (4, 2)), linewidth=1.2, zorder=1.5)
    for row in _shown(found, measure):
        if row["detector"] not in on:
            color = GREY if row["detector"] in COMPARED else DOT
            _mark(axis, row, max(row[measure], floor), color=color, filled=row["access"] != ORACLE)
    x, y = [_x(row) for row in front], [row[measure] for row in front]
    low, high = ([max(row[f"{measure}_{end}"], floor) for row in front] for end in ("low", "high"))
    axis.vlines(x, low, high, color=PALE, linewidth=1.6, zorder=2)
    axis.step([*x, most * 1.5], [*y, y[-1]], where="post", color=FRONT, linewidth=1.3, zorder=3)
    axis.plot(x, y, linestyle="none", label="front")  # the data; the marks differ by kind of detector
    for row in front:
        _mark(axis, row, row[measure], color=FRONT, filled=True)
    named = []
    last = found.controls[measure][measure] if measure in found.controls else 0.0
    for row in front:
        if row[measure] >= last + NAMED:
            named.append(row)
            last = row[measure]
    if measure == "auroc":
        named += [row for row in found.rows if row["detector"] in COMPARED and _behind(row, front) > VISIBLE]
    return [
        (_x(row), max(row[measure], floor), row["detector"].replace("@", "\n@"), row["detector"] in on) for row in named
    ]


def _x(row: Row) -> float:
    return max(evaluations(row), LEAST)


def _behind(row: Row, front: Sequence[Row]) -> float:
    """How far the front is above a detector at its cost, on the stretched axis."""
    cheaper = [other["auroc"] for other in front if evaluations(other) <= evaluations(row)]
    return float(_stretch(max(cheaper)) - _stretch(row["auroc"])) if cheaper else 0.0


def _stretch(value: Any) -> Any:
    import numpy as np

    return -np.log(np.maximum(STRETCH - np.asarray(value, float), 1e-3))


def _shrink(value: Any) -> Any:
    import numpy as np

    return STRETCH - np.exp(-np.asarray(value, float))


def _mark(axis: Axes, row: Row, value: float, *, color: str, filled: bool) -> None:
    products = row["jvps"] + row["vjps"] > 0
    axis.plot(
        _x(row),
        value,
        marker="s" if row["access"] == ORACLE else "D" if products else "o",
        markersize=3.6 if products else 4.2,
        markerfacecolor=color if filled else "white",
        markeredgecolor="white" if filled else color,
        markeredgewidth=0.4 if filled else 0.9,
        linestyle="none",
        zorder={FRONT: 4, GREY: 2.6}.get(color, 2.5),
        clip_on=False,
    )


def _place(axis: Axes, labels: list[Any]) -> None:
    """Write each name where it covers least: no other name, few points, not the front, near its own point.

    A name that is not on the front is left out where it would find no place beside its point.
    """
    import numpy as np
    from matplotlib.patheffects import withStroke

    figure = axis.figure
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    box = axis.get_window_extent(renderer)
    pixel, data = axis.transData, axis.transData.inverted()
    unit = figure.dpi / 72  # a typographic point
    marks = [line.get_xydata() for line in axis.lines if line.get_marker() not in {"None", None, ""}]
    points, stairs = pixel.transform(np.concatenate(marks)), _polyline(pixel.transform(_front_steps(axis)))
    dashed = [pixel.transform(line.get_xydata())[0, 1] for line in axis.lines if line.is_dashed()]
    taken: list[Any] = []
    for x, y, text, on in labels:
        anchor = pixel.transform((x, y))
        shown = axis.text(x, y, text, fontsize=7.2, color=DARK if on else GREY, linespacing=0.95, zorder=6)
        shown.set_path_effects([withStroke(linewidth=1.6, foreground="white")])
        extent = shown.get_window_extent(renderer)
        left, bottom = np.meshgrid(
            np.arange(box.x0 + 2 * unit, box.x1 + 2 * unit - extent.width, 2 * unit),
            np.arange(box.y0 + 2 * unit, box.y1 + 3 * unit - extent.height, 2 * unit),
        )
        low = np.stack([left.ravel(), bottom.ravel()], axis=1)
        high = low + [extent.width, extent.height]
        nearest = np.clip(anchor, low, high)
        far = np.hypot(*(nearest - anchor).T) / unit
        cost = 0.09 * far + 3 * _covered(low, high, points, 2.2 * unit) + 3 * _covered(low, high, stairs, 1.5 * unit)
        for height in dashed:
            cost += 2 * ((low[:, 1] - 1 < height) & (height < high[:, 1] + 1))
        for other_low, other_high in taken:
            cost += 30 * ((low < other_high + [5 * unit, unit]) & (other_low < high + [5 * unit, unit])).all(axis=1)
        best = int(cost.argmin())
        if not on and (cost[best] > CROWDED or far[best] > NEAR):
            shown.remove()
            continue
        shown.set_position(tuple(data.transform(low[best])))
        taken.append((low[best], high[best]))
        if far[best] > NEAR:
            ends = data.transform([nearest[best], anchor])
            axis.plot(ends[:, 0], ends[:, 1], color=FRONT, linewidth=0.5, zorder=3.5)


def _front_steps(axis: Axes) -> Any:
    """Corners of the front's staircase, in data coordinates."""
    import numpy as np

    (line,) = (line for line in axis.lines if line.get_drawstyle() == "steps-post")
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    return np.array([corner for i in range(len(x)) for corner in ((x[i], y[max(0, i - 1)]), (x[i], y[i]))])


def _polyline(corners: Any) -> Any:
    """Points along a polyline, every few pixels."""
    import numpy as np

    parts = [np.linspace(a, b, max(2, int(np.hypot(*(b - a)) / 6))) for a, b in zip(corners, corners[1:], strict=False)]
    return np.concatenate(parts)


def _covered(low: Any, high: Any, points: Any, margin: float) -> Any:
    """How many points lie in each rectangle or within a margin of it."""
    inside = (points > low[:, None] - margin) & (points < high[:, None] + margin)
    return inside.all(axis=2).sum(axis=1)


def _say_why(axis: Axes, found: SetFronts) -> None:
    negatives = found.rows[0]["n_negative"]
    axis.text(
        0.5,
        0.5,
        f"TPR at 1 % FPR is not\nresolvable with {negatives} negatives",
        transform=axis.transAxes,
        ha="center",
        va="center",
        color=GREY,
    )


def _legend() -> list[Line2D]:
    from matplotlib.lines import Line2D

    def mark(text: str, marker: str, colour: str, face: str | None = None) -> Line2D:
        return Line2D([], [], marker=marker, color=colour, markerfacecolor=face or colour, linestyle="none", label=text)

    return [
        Line2D([], [], color=FRONT, marker="o", linewidth=1.3, label="on the Pareto front, with its 95 % interval"),
        Line2D(
            [],
            [],
            color=ORANGE,
            linestyle=(0, (4, 2)),
            linewidth=1.2,
            label="best control, which never calls the model",
        ),
        mark("behind the front", "o", DOT),
        mark("diamond: takes Jacobian products", "D", DOT),
        mark("oracle: looks at the training images", "s", DOT, "white"),
        mark(f"dark: {COMPARED[0]} (circle), {COMPARED[1]} (diamond)", "o", GREY),
    ]
