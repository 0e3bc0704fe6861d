"""Where the points and labels of the plot of extraction against fidelity lie."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from memdet.metrics import Interval
from memdet.mitigating.measures import Measured
from memdet.tables.numbers import short

LEFT, RIGHT, TOP, BOTTOM = 44.0, 336.0, 14.0, 250.0
"""Edges of the field in a drawing of :data:`WIDTH` x :data:`HEIGHT`."""
WIDTH, HEIGHT = 360.0, 286.0
TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_APART = 14.0  # of two labels
_RADII = tuple(range(11, 120, 6))


@dataclass(frozen=True)
class Point:
    """A mitigation in the plot.

    Attributes:
        number: Its row of the table.
        name: Its label.
        x, y: Of the point.
        across, along: Ends of the interval of extraction and of that of fidelity.
        label: Where its number stands.
        kind: ``control``, ``front`` or ``method``.
        lucky: Whether it does not copy less than another noise does.
    """

    number: int
    name: str
    x: float
    y: float
    across: tuple[float, float]
    along: tuple[float, float]
    label: tuple[float, float]
    kind: str
    lucky: bool


@dataclass(frozen=True)
class Plot:
    """The points, the corners of the front, and the ticks of both axes with their places."""

    points: list[Point]
    front: str
    across: list[tuple[str, float]]
    along: list[tuple[str, float]]
    width: float = WIDTH
    height: float = HEIGHT
    left: float = LEFT
    right: float = RIGHT
    top: float = TOP
    bottom: float = BOTTOM


def scatter(numbered: Sequence[tuple[int, Measured]]) -> Plot | None:
    """Extraction to the right, fidelity upwards; None where fewer than two have both.

    Args:
        numbered: Rows of the table and their numbers.
    """
    known = [
        (number, row, row.copied, row.faithful["memorized"])
        for number, row in numbered
        if row.copied is not None and row.faithful and "memorized" in row.faithful
    ]
    if len(known) < 2:
        return None
    places = [(x_of(copied.value), y_of(right.value)) for _, _, copied, right in known]
    points = [
        Point(
            number,
            row.label,
            *place,
            across=_ends(copied, x_of),
            along=_ends(right, y_of),
            label=label,
            kind="front" if row.on_front else "control" if row.is_control else "method",
            lucky=row.beats_reseed is False,
        )
        for (number, row, copied, right), place, label in zip(known, places, spread(places), strict=True)
    ]
    return Plot(
        points,
        _stairs([(p.x, p.y) for p in points if p.kind == "front"]),
        [(short(tick), x_of(tick)) for tick in TICKS],
        [(short(tick), y_of(tick)) for tick in TICKS],
    )


def x_of(share: float) -> float:
    """Place of a share of copies."""
    return LEFT + (RIGHT - LEFT) * min(1.0, max(0.0, share))


def y_of(share: float) -> float:
    """Place of a share that is right."""
    return BOTTOM - (BOTTOM - TOP) * min(1.0, max(0.0, share))


def spread(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A place for the label of each point, near it and away from other labels and points; none on an axis.

    Example:
        >>> one, other = spread([(100.0, 100.0), (100.0, 100.0)])
        >>> math.dist(one, other) >= 14
        True
    """
    placed: list[tuple[float, float]] = []
    for point in points:
        candidates = [
            (point[0] + radius * math.cos(angle), point[1] + radius * math.sin(angle))
            for radius in _RADII
            for angle in (math.tau * turn / 32 for turn in range(-4, 28))
        ]
        inside = [c for c in candidates if LEFT + 6 < c[0] < WIDTH - 8 and 5 < c[1] < BOTTOM - 6]
        free = (c for c in inside if all(math.dist(c, o) >= _APART for o in placed) and _clear(c, points))
        placed.append(next(free, inside[len(placed) % len(inside)]))
    return placed


def _clear(place: tuple[float, float], points: Sequence[tuple[float, float]]) -> bool:
    return all(math.dist(place, point) >= 9 for point in points)


def _ends(interval: Interval, place: Callable[[float], float]) -> tuple[float, float]:
    return place(interval.low), place(interval.high)


def _stairs(corners: Sequence[tuple[float, float]]) -> str:
    """A path along the front, from the fewest copies to the most: more fidelity comes with more copies."""
    ordered = sorted(set(corners))
    parts = [f"M{x:.1f} {y:.1f}" if index == 0 else f"H{x:.1f}V{y:.1f}" for index, (x, y) in enumerate(ordered)]
    return "".join(parts)
