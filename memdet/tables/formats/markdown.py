"""Tables in Markdown, as GitHub shows it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from memdet.io_utils import printable
from memdet.tables.table import Block, Column, Table

_MEANINGS = [
    (re.compile(pattern), escaped)
    for pattern, escaped in (
        (r"\\(?=[!-/:-@\[-`{-~]|$)", r"\\\\"),  # a backslash escapes punctuation
        (r"([`~])", r"\\\1"),
        (r"<(?=[A-Za-z/!?])", r"\\<"),
        (r"&(?=#?\w+;)", r"\\&"),
        (r"\[(?=[^\]]*\][(\[])", r"\\["),
        (r"(?<!\S)\*(?=\S)|(?<=\S)\*", r"\\*"),
        (r"(?<!\w)_(?=\S)|(?<=\S)_(?!\w)", r"\\_"),
    )
]


def document(blocks: Iterable[Block], *, padded: bool = False) -> str:
    """Paragraphs and tables with an empty line between them; empty ones are left out.

    Args:
        blocks: Paragraphs are Markdown; :func:`escape` makes it of plain text.
        padded: As for :func:`draw`.
    """
    drawn = (draw(block, padded=padded) if isinstance(block, Table) else _lines(block) for block in blocks)
    return "\n\n".join(filter(None, drawn))


def draw(table: Table, *, padded: bool = False) -> str:
    """A table below its title in bold. A rule within it is left out, which Markdown does not have.

    Args:
        table: Its cells are Markdown but for the pipe, which :func:`markdown_line` escapes.
        padded: Cells of a column are equally long, so that it reads well in a terminal too.
    """
    if not table.columns:
        return ""
    widths = [0] * len(table.columns)
    if padded:
        lengths = ([len(_cell(text)) for text in line] for line in (table.headers, *table.rows))
        widths = [max(3, *of_column) for of_column in zip(*lengths, strict=True)]
    lines = [
        markdown_line(_aligned(table.headers, table.columns, widths)),
        markdown_line([_rule(column, width) for column, width in zip(table.columns, widths, strict=True)]),
        *(markdown_line(_aligned(row, table.columns, widths)) for row in table.rows),
    ]
    title = f"**{printable(table.title)}**" if table.title else ""
    return "\n\n".join(filter(None, [title, "\n".join(lines), "\n".join(map(printable, table.notes))]))


def markdown_line(cells: Iterable[str]) -> str:
    """One line of a table."""
    return f"| {' | '.join(map(_cell, cells))} |"


def escape(text: str) -> str:
    """Text whose stars stand for themselves."""
    return text.replace("*", r"\*")


def plain(text: str) -> str:
    r"""Markdown that shows a text as it is, whatever is in it: names and messages are text, not Markdown.

    What has no meaning where it stands stays: a star or underscore between spaces, an underscore within a word.

    Example:
        >>> print(plain("a_b *"), plain("*a* <b> [c](d) `e`"), sep="\n")
        a_b *
        \*a\* \<b> \[c](d) \`e\`
    """
    for pattern, escaped in _MEANINGS:
        text = pattern.sub(escaped, text)
    return text


def plain_table(table: Table) -> Table:
    """A table whose title, cells and notes are text and not Markdown."""
    rows = [[plain(cell) for cell in row] for row in table.rows]
    return replace(table, rows=rows, title=plain(table.title), notes=[plain(note) for note in table.notes])


def _cell(text: str) -> str:
    return printable(text).replace("|", r"\|")


def _aligned(cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int]) -> list[str]:
    """Cells filled up with spaces to the widths; an escaped pipe counts as two letters."""
    filled = []
    for cell, column, width in zip(cells, columns, widths, strict=True):
        space = " " * (width - len(_cell(cell)))
        filled.append(space + cell if column.align == "right" else cell + space)
    return filled


def _rule(column: Column, width: int) -> str:
    return f"{'-' * max(2, width - 1)}:" if column.align == "right" else "-" * max(3, width)


def _lines(text: str) -> str:
    return "\n".join(map(printable, text.split("\n")))
