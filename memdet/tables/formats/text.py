"""Tables for a terminal or a log."""

from __future__ import annotations

from collections.abc import Iterable

from memdet.io_utils import printable
from memdet.tables import fitting, screen
from memdet.tables.table import Block, Table

_BETWEEN = 3  # places between two columns


def on_screen(blocks: Iterable[Block], *, ruled: bool = True) -> str:
    """What a command prints: a document in the order, with the rows and of the width that its reader wants.

    Args:
        blocks: As for :func:`document`.
        ruled: As for :func:`draw`.

    Raises:
        UserError: No table has the column by which they shall be sorted.
    """
    return document(fitting.arranged(list(blocks), screen.current()), ruled=ruled, width=screen.width())


def document(blocks: Iterable[Block], *, ruled: bool = True, width: int | None = None) -> str:
    """Paragraphs and tables with an empty line between them; empty ones are left out.

    Args:
        blocks: Paragraphs are plain text.
        ruled: As for :func:`draw`.
        width: Places of a line: tables are fitted to it, and paragraphs wrapped. None leaves both as they are.
    """
    drawn = (
        draw(block, ruled=ruled, width=width) if isinstance(block, Table) else _lines(block, width) for block in blocks
    )
    return "\n\n".join(filter(None, drawn))


def draw(table: Table, *, ruled: bool = True, width: int | None = None) -> str:
    """A table, whose rows are never wrapped.

    Args:
        table: A rule within it is an empty line.
        ruled: With a line below the headers. Without one it is a plain list of columns, for other programs too.
        width: Places of a line (:func:`~memdet.tables.fitting.fitted`); None makes it as wide as its cells, of which
            nothing is cut.
    """
    if not table.columns:
        return ""
    if width is not None:
        table = fitting.fitted(table, width, _BETWEEN if ruled else _BETWEEN - 1, int(ruled))
    return "\n\n".join(filter(None, [_lines(printable(table.title), width), _body(table, ruled), _notes(table, width)]))


def _body(table: Table, ruled: bool) -> str:
    """Headers and rows."""
    from rich.cells import cell_len

    cells = [[printable(cell) for cell in line] for line in (table.headers, *table.rows)]
    lengths = [[cell_len(cell) for cell in line] for line in cells]
    widths = [max(of_column) for of_column in zip(*lengths, strict=True)]
    margin, between = (" ", " " * _BETWEEN) if ruled else ("", " " * (_BETWEEN - 1))
    lines = []
    for line, own in zip(cells, lengths, strict=True):
        filled = []
        for cell, length, column, width in zip(line, own, table.columns, widths, strict=True):
            space = " " * (width - length)
            filled.append(space + cell if column.align == "right" else cell + space)
        lines.append(f"{margin}{between.join(filled)}".rstrip())
    if table.rule_after is not None and 0 < table.rule_after < len(table.rows):
        lines.insert(1 + table.rule_after, "")
    if ruled:
        lines.insert(1, f"{margin}{'─' * (sum(widths) + _BETWEEN * (len(widths) - 1))}")
    return "\n".join(lines)


def shortened(text: str, width: int) -> str:
    """Text that takes so many places of a terminal at most; an ellipsis stands for what is cut."""
    from rich.text import Text

    line = Text(printable(text))
    line.truncate(width, overflow="ellipsis")
    return line.plain


def _notes(table: Table, width: int | None) -> str:
    return "\n".join(_lines(printable(note), width) for note in table.notes)


def _lines(text: str, width: int | None) -> str:
    lines = (printable(line).rstrip() for line in text.split("\n"))
    return "\n".join(line if width is None else fitting.wrapped(line, width) for line in lines)
