"""A table of text cells. ``memdet.tables.formats`` draws it for a terminal, in Markdown or in LaTeX."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        header: What stands above it.
        align: To which side its cells go.
        drop: In which order columns leave a table that is wider than the screen: 1 first, equal ones together. 0 stays.
        least: Places of a column of sentences, to which they are cut before another column leaves. 0: they are not.
        brief: A shorter header. Where there is no room, cells stand below it without their intervals.
        best: Which end is the better one, for ``--sort``: of numbers the high one where nothing is said.
    """

    header: str
    align: Literal["left", "right"] = "left"
    drop: int = 0
    brief: str = ""
    best: Literal["high", "low"] = "high"
    least: int = 0


def left(*headers: str, drop: int = 0, least: int = 0) -> tuple[Column, ...]:
    """Columns of text."""
    return tuple(Column(header, drop=drop, least=least) for header in headers)


def right(*headers: str, drop: int = 0, brief: str = "", best: Literal["high", "low"] = "high") -> tuple[Column, ...]:
    """Columns of numbers."""
    return tuple(Column(header, "right", drop, brief, best) for header in headers)


@dataclass(frozen=True)
class Table:
    """What is drawn. Cells are text already: :mod:`memdet.tables.numbers` makes it of numbers.

    Attributes:
        columns: From left to right.
        rows: As many cells each as there are columns.
        title: One line above it.
        notes: Lines below it.
        rule_after: Number of rows above a rule; None draws none.
        tail: So many rows at the end stay there however a table is sorted, and are not cut off: controls.

    Raises:
        ValueError: A row has more or fewer cells than there are columns.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str = ""
    notes: Sequence[str] = ()
    rule_after: int | None = None
    tail: int = 0

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"a row has {len(row)} cells under {len(self.columns)} columns: {row}")

    @property
    def headers(self) -> list[str]:
        """What stands above the columns."""
        return [column.header for column in self.columns]


Block = str | Table
"""A part of a document: a paragraph or a table."""


def notes_by_message(said: Iterable[tuple[str, str]], named: int | None = None) -> list[str]:
    """One line a message, with all whom it is about.

    Args:
        said: Name and message; an empty message says nothing.
        named: How many names a line holds before the others are counted; None names all.

    Example:
        >>> notes_by_message([("a", "no seed"), ("b", ""), ("c", "no seed"), ("d", "no seed")], named=2)
        ['a, c and 1 more: no seed.']
    """
    by_message: dict[str, dict[str, None]] = {}
    for name, message in said:
        if message:
            by_message.setdefault(message, {})[name] = None
    lines = []
    for message, names in by_message.items():
        shown = list(names)[:named]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        lines.append(f"{', '.join(shown)}{more}: {message}.")
    return lines
