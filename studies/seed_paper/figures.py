"""The figures of ``docs/seed-paper.md``, drawn from stored numbers; matplotlib is imported when one is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.drawing import BLUE, GREY, ORANGE, STYLE, need_matplotlib, save_png
from studies.seed_paper.measure import GROUPS, IDENTITIES, Json
from studies.seed_paper.toy import BROAD, TIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"memorized": ORANGE, "other": BLUE}
MARKS = {"memorized": "o", "other": "^"}
WIDTH = 7.2
EIGENVALUE = r"$\lambda_{\min}\,\sigma_t^2$"


def save_figures(parts: Json, directory: Path) -> list[Path]:
    """Draw what the parts hold as PNG files in a directory that exists, and return their paths.

    Raises:
        UserError: matplotlib is not installed.
    """
    need_matplotlib()
    import matplotlib as mpl

    paths = []
    with mpl.rc_context(STYLE):
        for name, (part, draw) in FIGURES.items():
            if part not in parts:
                continue
            path = directory / name
            save_png(draw(parts[part]), path)
            paths.append(path)
    return paths


def draw_toy(part: Json) -> Figure:
    """Figure 1: trajectories in the plane, and the smallest eigenvalue along them."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import NullFormatter

    data = part["data"]
    figure, (plane, curve) = _canvas(1, 2, 3.0)
    for group in reversed(GROUPS):
        found, colour = data["groups"][group], COLOURS[group]
        for path in found["paths"]:
            plane.plot(*_columns(path), color=colour, alpha=0.25, linewidth=0.6)
        x, y = _columns(found["path"])
        plane.plot(x, y, color=colour, linewidth=1.8)
        plane.plot(x[0], y[0], "o", color=colour, markersize=4, markerfacecolor="white")
        plane.plot(x[-1], y[-1], "o", color=colour, markersize=5)
    for centre, name, place in ((TIGHT, "tight mode", (-2, -0.45)), (BROAD, "broad mode", (1, -0.45))):
        plane.plot(*centre, "+", color="black", markersize=9, markeredgewidth=1.2, zorder=5)
        plane.annotate(name, place, ha="center", va="top", fontsize=8)
    plane.set(xlabel=r"$x_1$", ylabel=r"$x_2$", title="Trajectories of the null branch")
    plane.set_aspect("equal", adjustable="datalim")
    for group in GROUPS:
        found = data["groups"][group]
        for kind, line in (("exact", "--"), ("learned", "-")):
            curve.plot(data["sigmas"], found[kind]["median"], line, color=COLOURS[group], linewidth=1.5)
        _band(curve, data["sigmas"], found["learned"], group)
    curve.axhline(-1, color=GREY, linewidth=0.7, linestyle=":")
    curve.set_xscale("log")
    curve.invert_xaxis()
    curve.xaxis.set_minor_formatter(NullFormatter())
    curve.set(xlabel=r"noise level $\sigma_t$ (generation runs to the right)", ylabel=EIGENVALUE)
    curve.set_title("Smallest eigenvalue along them")
    handles = [Line2D([], [], color=COLOURS[group], linewidth=1.8) for group in GROUPS]
    handles += [Line2D([], [], color=GREY, linestyle=style) for style in ("-", "--")]
    counts = {group: data["groups"][group]["count"] for group in GROUPS}
    texts = [f"memorized ({counts['memorized']})", f"generic ({counts['other']})", "learned network", "closed form"]
    curve.set_xticks([1, 0.3, 0.1, 0.03], ["1", "0.3", "0.1", "0.03"])
    curve.legend(handles, texts, loc="center", bbox_to_anchor=(0.58, 0.66))
    return figure


def draw_pixel(part: Json) -> Figure:
    """Figure 2: sorted eigenvalues of the conditional Jacobian at the first and at the last step."""
    places, classes = part["data"]["places"], part["settings"]["classes"]
    figure, axes = _canvas(1, len(places), 2.9)
    for axis, place in zip(axes, places, strict=True):
        for group in GROUPS:
            spectrum = place["spectra"][group]
            ranks = range(1, len(spectrum["median"]) + 1)
            name = f"{classes[group]} ({'memorized' if group == 'memorized' else 'broad class'})"
            line = "-" if group == "memorized" else (0, (4, 1.5))  # both are seen where they coincide
            axis.plot(ranks, spectrum["median"], color=COLOURS[group], linewidth=1.6, linestyle=line, label=name)
            _band(axis, ranks, spectrum, group)
        axis.axhline(0, color=GREY, linewidth=0.7)
        axis.axhline(-1, color=GREY, linewidth=0.7, linestyle=":")
        axis.set(xlabel="rank of the eigenvalue", title=rf"$t = {place['t']}$, $\sigma_t = {place['sigma']:.3g}$")
        axis.sharey(axes[0])
    axes[0].set_ylabel(r"eigenvalue of $S_c$, times $\sigma_t^2$")
    axes[0].legend(loc="center")
    return figure


def draw_identities(part: Json) -> Figure:
    """Figure 4: norms that are taken for traces, against the exact traces."""
    places, labels = part["data"]["per-item"], part["data"]["labels"]
    figure, axes = _canvas(len(IDENTITIES), len(places), 5.2)
    words = {
        "trace": (r"$-\mathrm{tr}\,H\ \cdot\ \sigma_t^2$", r"$\|s\|^2\ \cdot\ \sigma_t^2$"),
        "cubic": (r"$-\mathrm{tr}\,H^3\ \cdot\ \sigma_t^6$", r"$\|H s\|^2\ \cdot\ \sigma_t^6$"),
    }
    for index, (name, (estimate, quantity)) in enumerate(IDENTITIES.items()):
        for column, place in enumerate(places):
            axis = axes[index * len(places) + column]
            _scatter(axis, place[quantity], place[estimate], labels)
            low = min(*place[quantity], *place[estimate])
            high = max(*place[quantity], *place[estimate])
            margin = 0.05 * (high - low)
            ends = (low - margin, high + margin)
            axis.plot(ends, ends, color=GREY, linewidth=0.8, linestyle="--", label="equal", zorder=1)
            axis.set(xlim=ends, ylim=ends, xlabel=words[name][0], title=rf"$t = {place['t']}$" if index == 0 else "")
            if column == 0:
                axis.set_ylabel(words[name][1])
    axes[0].legend(loc="lower right", handletextpad=0.4)
    return figure


def draw_gap(part: Json) -> Figure:
    """Figure 5: smallest eigenvalues of S_c and S_D, item by item."""
    places, labels = part["data"]["protocol"], part["data"]["labels"]
    kinds = (("smallest", "S_c"), ("smallest_gap", "S_D"))
    figure, axes = _canvas(1, len(places) * len(kinds), 2.7)
    panels = [
        (place, numbers, kind)
        for place, numbers in zip(places, part["numbers"]["eigenvalues"], strict=True)
        for kind in kinds
    ]
    for axis, (place, numbers, (name, symbol)) in zip(axes, panels, strict=True):
        for centre, (group, wanted) in enumerate((("memorized", 1), ("other", 0))):
            values = [value for value, label in zip(place[name], labels, strict=True) if label == wanted]
            x = [centre + 0.36 * (((7 * index) % 11) / 10 - 0.5) for index in range(len(values))]
            axis.scatter(x, values, s=12, color=COLOURS[group], marker=MARKS[group], alpha=0.7, linewidths=0)
            median = numbers[name][group]
            axis.plot([centre - 0.3, centre + 0.3], [median, median], color="black", linewidth=1.4)
        area = numbers[name]["auroc"]
        shown = "-" if area is None else f"{area:.3f}"
        axis.set(xticks=[0, 1], xticklabels=["memorized", "not"], xlim=(-0.5, 1.5))
        axis.set_title(f"${symbol}$, $t = {place['t']}$\nAUROC {shown}")
    axes[0].set_ylabel(EIGENVALUE)
    return figure


FIGURES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "seed-figure-1.png": ("toy-2d", draw_toy),
    "seed-figure-2.png": ("fashion-pixel", draw_pixel),
    "seed-figure-4.png": ("tiny-sd-a", draw_identities),
    "seed-figure-5.png": ("tiny-sd-a", draw_gap),
}


def _canvas(rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _band(axis: Axes, x: Sequence[float], values: Json, group: str) -> None:
    axis.fill_between(x, values["low"], values["high"], color=COLOURS[group], alpha=0.2, linewidth=0)


def _scatter(axis: Axes, x: Sequence[float], y: Sequence[float], labels: Sequence[int]) -> None:
    for group, wanted, text in (("memorized", 1, "memorized"), ("other", 0, "not memorized")):
        kept = [index for index, label in enumerate(labels) if label == wanted]
        chosen = [x[index] for index in kept], [y[index] for index in kept]
        axis.scatter(*chosen, s=14, color=COLOURS[group], marker=MARKS[group], alpha=0.75, linewidths=0, label=text)


def _columns(path: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    return [point[0] for point in path], [point[1] for point in path]
