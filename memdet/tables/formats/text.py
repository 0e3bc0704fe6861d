"""Tables for a terminal or a log."""

from __future__ import annotations

import io
from collections.abc import Iterable

from memdet.io_utils import printable
from memdet.tables.table import Block, Table

_BETWEEN = 3  # places between two columns


def document(blocks: Iterable[Block]) -> str:
    """Paragraphs and tables with an empty line between them; empty ones are left out."""
    drawn = (draw(block) if isinstance(block, Table) else _lines(block) for block in blocks)
    return "\n\n".join(filter(None, drawn))


def draw(table: Table, *, ruled: bool = True) -> str:
    """A table as wide as its cells, which are never cut or wrapped.

    Args:
        table: A rule within it is an empty line.
        ruled: With a line below the headers. Without one it is a plain list of columns, for other programs too.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table as Drawing

    if not table.columns:
        return ""
    drawing = Drawing(box=box.SIMPLE_HEAD if ruled else None, pad_edge=False)
    for column in table.columns:
        drawing.add_column(printable(column.header), justify=column.align, no_wrap=True)
    for index, row in enumerate(table.rows):
        drawing.add_row(*map(printable, row), end_section=index + 1 == table.rule_after)
    lines = zip(*([printable(cell) for cell in line] for line in (table.headers, *table.rows)), strict=True)
    width = sum(max(map(cell_len, cells)) + _BETWEEN for cells in lines)
    output = io.StringIO()
    console = Console(
        width=width, file=output, force_terminal=False, color_system=None, highlight=False, markup=False, emoji=False
    )
    console.print(drawing)
    body = "\n".join(line.rstrip() for line in output.getvalue().splitlines()).strip("\n")
    return "\n\n".join(filter(None, [printable(table.title), body, "\n".join(map(printable, table.notes))]))


def shortened(text: str, width: int) -> str:
    """Text that takes so many places of a terminal at most; an ellipsis stands for what is cut."""
    from rich.text import Text

    line = Text(printable(text))
    line.truncate(width, overflow="ellipsis")
    return line.plain


def _lines(text: str) -> str:
    return "\n".join(printable(line).rstrip() for line in text.split("\n"))
