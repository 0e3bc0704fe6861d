"""What a reader asks of the tables on his screen: how wide they may be, in which order, and how many rows."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

NARROWEST = 40  # places; a narrower screen breaks lines itself


@dataclass(frozen=True)
class View:
    """How tables are shown.

    Attributes:
        wide: Every column, however wide the screen is.
        sort: Header of the column by which rows are sorted, best first; None leaves them as the command orders them.
        limit: Rows of each table at most; None shows all.
        top: Rows of each table at most, not counting those at its end that always stay, the controls.
    """

    wide: bool = False
    sort: str | None = None
    limit: int | None = None
    top: int | None = None


_VIEW: ContextVar[View | None] = ContextVar("memdet_view", default=None)


def current() -> View:
    """The view that holds now."""
    return _VIEW.get() or View()


@contextmanager
def shown(view: View) -> Iterator[None]:
    """Inside, tables for a terminal are drawn so.

    Example:
        >>> with shown(View(limit=3)):
        ...     current().limit
        3
    """
    token = _VIEW.set(view)
    try:
        yield
    finally:
        _VIEW.reset(token)


def width() -> int | None:
    """Places of a line; None where tables are as wide as their cells.

    The variable ``COLUMNS`` says it, or else the terminal. A file and a pipe get all columns: who reads them can
    scroll, or is a program.
    """
    if current().wide:
        return None
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said) > 0:
        return max(NARROWEST, int(said))
    try:
        if not sys.stdout.isatty():
            return None
        return max(NARROWEST, os.get_terminal_size(sys.stdout.fileno()).columns or NARROWEST)
    except (AttributeError, OSError, ValueError):  # a stream of somebody's own, closed, or no terminal after all
        return None
