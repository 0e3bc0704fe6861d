"""A table cut to the width of a screen: rows are never broken, so columns give way, in the order that they declare."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from memdet.errors import UserError
from memdet.io_utils import printable
from memdet.tables.numbers import UNDEFINED, counted
from memdet.tables.screen import View
from memdet.tables.table import Block, Column, Table

_SHORTEST = 8  # places that a column of text keeps
_NUMBER = re.compile(r"[<>≤≥]?\s*([+-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[+-]?\d+)?)")
Cells = list[list[str]]


def fitted(table: Table, width: int, between: int, margin: int = 0) -> Table:
    """The table in so many places; what is left out is named below it.

    Columns that say nothing of any row go first, of those that may go. Then intervals go, sentences are cut, and
    columns go in the order of :attr:`~memdet.tables.table.Column.drop`; then other text is shortened. At last columns
    go from the right.

    Args:
        table: As wide as its cells.
        width: Places of a line.
        between: Places between two columns.
        margin: Places beside them.

    Returns:
        The table itself, where it fits.

    Example:
        >>> from memdet.tables.table import left, right
        >>> columns = (*left("name"), *right("AUROC"), *right("seconds", drop=1))
        >>> found = fitted(Table(columns, [["wen2024", ".970", "12.5"]]), 20, 3)
        >>> found.headers, found.notes
        (['name', 'AUROC'], ['Left out on this narrow screen: seconds. --wide shows all columns.'])
    """
    state = _State(table, width - margin, between)
    if state.fits:
        return table
    state.drop_in_order([i for i in state.kept if state.may_go(i) and state.says_nothing(i)])
    brief = [i for i in state.by_drop() if table.columns[i].brief]
    for index in brief:
        if not state.fits:
            state.brief.add(index)
    state.cut_sentences()
    state.drop_groups()
    for index in reversed(brief):
        state.lengthen(index)
    state.give_back()
    state.shorten()
    state.drop_in_order(state.kept[:0:-1])
    return state.table()


class _State:
    """A table that gives way."""

    def __init__(self, table: Table, width: int, between: int) -> None:
        self.source, self.width, self.between = table, width, between
        self.kept = list(range(len(table.columns)))
        self.brief: set[int] = set()
        self.shortened: dict[int, int] = {}
        self._longest: dict[tuple[int, bool], int] = {}

    def lines(self, index: int) -> list[str]:
        """Header and cells of a column, as they stand now."""
        column = self.source.columns[index]
        cells = [row[index] for row in self.source.rows]
        if index in self.brief:
            return [column.brief, *(cell.partition(" [")[0] for cell in cells)]
        return [column.header, *cells]

    def width_of(self, index: int) -> int:
        from rich.cells import cell_len

        key = index, index in self.brief
        if key not in self._longest:
            self._longest[key] = max(cell_len(printable(line)) for line in self.lines(index))
        longest = self._longest[key]
        return min(longest, self.shortened.get(index, longest))

    @property
    def total(self) -> int:
        return sum(map(self.width_of, self.kept)) + self.between * (len(self.kept) - 1)

    @property
    def fits(self) -> bool:
        return self.total <= self.width

    def says_nothing(self, index: int) -> bool:
        return all(row[index] in {"", UNDEFINED} for row in self.source.rows)

    def by_drop(self) -> list[int]:
        """Columns that are there and may go, the first to go first; of equal ones the last."""
        may = [index for index in self.kept if self.may_go(index)]
        return sorted(may, key=lambda index: (self.source.columns[index].drop, -index))

    def may_go(self, index: int) -> bool:
        """The first column, which says what a row is about, always stays."""
        return index > 0 and self.source.columns[index].drop > 0

    def drop_groups(self) -> None:
        """Columns of one number go together: of a cost in parts no part stays by itself."""
        for number in sorted({self.source.columns[index].drop for index in self.kept if self.may_go(index)}):
            if self.fits:
                return
            gone = {index for index in self.kept if self.may_go(index) and self.source.columns[index].drop == number}
            self.kept = [index for index in self.kept if index not in gone]

    def drop_in_order(self, indices: Sequence[int]) -> None:
        for index in indices:
            if self.fits:
                return
            self.kept.remove(index)

    def lengthen(self, index: int) -> None:
        """Give a column its intervals back, where there is room for them."""
        if index in self.brief and index in self.kept:
            self.brief.remove(index)
            if not self.fits:
                self.brief.add(index)

    def cut_sentences(self) -> None:
        """Sentences to their least, if that is needed."""
        if self.fits:
            return
        for index in self.kept:
            if least := self.source.columns[index].least:
                self.shortened[index] = least

    def give_back(self) -> None:
        """What room there is to the sentences."""
        for index in self.shortened:
            if index in self.kept and self.fits:
                self.shortened[index] += self.width - self.total

    def shorten(self) -> None:
        """Take the places that are missing from the widest columns of text."""
        while not self.fits:
            texts = [i for i in self.kept if self.source.columns[i].align == "left" and self.width_of(i) > _SHORTEST]
            if not texts:
                return
            widest = max(texts, key=self.width_of)
            others = [self.width_of(i) for i in texts if i != widest]
            least = max(_SHORTEST, self.width_of(widest) - (self.total - self.width))
            level = max([least, *(other for other in others if other < self.width_of(widest))])
            self.shortened[widest] = level if level < self.width_of(widest) else self.width_of(widest) - 1

    def table(self) -> Table:
        lines = []
        for index in self.kept:
            cells = self.lines(index)
            if (width := self.shortened.get(index)) is not None:
                cells = [shortened(cell, width) for cell in cells]
            lines.append(cells)
        columns = [replace(self.source.columns[i], header=cells[0]) for i, cells in zip(self.kept, lines, strict=True)]
        rows = [list(row) for row in zip(*(cells[1:] for cells in lines), strict=True)]
        gone = [column.header for i, column in enumerate(self.source.columns) if i not in self.kept]
        gone += [f"intervals of {self.source.columns[i].header}" for i in self.kept if i in self.brief]
        note = f"Left out on this narrow screen: {', '.join(gone)}. --wide shows all columns."
        return replace(self.source, columns=columns, rows=rows, notes=[*self.source.notes, *([note] if gone else [])])


def shortened(text: str, width: int) -> str:
    """Text that takes so many places of a terminal at most; an ellipsis stands for what is cut.

    A sentence loses its end. A name, which has no space, loses its middle, for names often differ at their ends.

    Example:
        >>> shortened("jeon2024-eigenvalues@t=200", 15), shortened("one two three", 8)
        ('jeon202…s@t=200', 'one two…')
    """
    from rich.cells import cell_len, set_cell_size

    text = printable(text)
    if cell_len(text) <= width:
        return text
    if " " in text.strip():
        return set_cell_size(text, width - 1).rstrip() + "…"
    front = set_cell_size(text, width // 2).rstrip()
    end = ""
    for letter in reversed(text):
        if cell_len(front + letter + end) > width - 1:
            break
        end = letter + end
    return f"{front}…{end}"


def wrapped(line: str, width: int) -> str:
    """A line of a paragraph in lines of the screen, which keep its indentation; a word is never broken.

    Example:
        >>> print(wrapped("  one two three", 9))
          one two
          three
    """
    from rich.cells import cell_len

    if cell_len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip(" "))]
    first, *words = line.lstrip(" ").split(" ")
    lines = [f"{indent}{first}"]
    for word in words:
        longer = f"{lines[-1]} {word}"
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(f"{indent}{word}")
    return "\n".join(text.rstrip() for text in lines)


def arranged(blocks: Sequence[Block], view: View) -> list[Block]:
    """Tables with their rows in the order that a reader asks for, and no more rows than he wants.

    Raises:
        UserError: No table has the column by which they shall be sorted.

    Example:
        >>> from memdet.tables.table import left, right
        >>> table = Table((*left("name"), *right("AUROC")), [["a", ".5"], ["b", ".9 [.8, 1.0]"], ["c", "-"]])
        >>> (found,) = arranged([table], View(sort="auroc", limit=2))
        >>> found.rows, found.notes
        ([['b', '.9 [.8, 1.0]'], ['a', '.5']], ['1 row more; leave out --limit and --top to see all.'])
    """
    tables = [block for block in blocks if isinstance(block, Table)]
    if view.sort is not None and tables and all(_named(table.columns, view.sort) is None for table in tables):
        known = ", ".join(dict.fromkeys(header for table in tables for header in table.headers))
        raise UserError(f"no table has a column `sort` {view.sort!r}: they have {known}", parameters=("sort",))
    return [_arranged(block, view) if isinstance(block, Table) else block for block in blocks]


def _arranged(table: Table, view: View) -> Table:
    end = len(table.rows) - table.tail
    body, tail = list(table.rows[:end]), list(table.rows[end:])
    index = None if view.sort is None else _named(table.columns, view.sort)
    if index is not None:
        column = table.columns[index]
        body.sort(key=lambda row: _key(row[index], column))
        tail.sort(key=lambda row: _key(row[index], column))
    if view.top is not None:
        body = body[: view.top]
    rows = [*body, *tail]
    rows = rows if view.limit is None else rows[: view.limit]
    gone = len(table.rows) - len(rows)
    notes = [f"{counted(gone, 'row')} more; leave out --limit and --top to see all."] if gone else []
    rule = table.rule_after
    if gone or index is not None:
        rule = len(body) if table.tail and rule is not None else None
    return replace(table, rows=rows, notes=[*table.notes, *notes], rule_after=rule, tail=min(len(tail), len(rows)))


def _named(columns: Sequence[Column], name: str) -> int | None:
    """The column of that name, or the only one that begins so."""
    wanted = name.casefold()
    names = [{column.header.casefold(), column.brief.casefold()} - {""} for column in columns]
    exact = [index for index, own in enumerate(names) if wanted in own]
    begins = [index for index, own in enumerate(names) if wanted and any(one.startswith(wanted) for one in own)]
    return exact[0] if exact else begins[0] if len(begins) == 1 else None


def _key(cell: str, column: Column) -> tuple[int, float, str]:
    """Best first; what is undefined stands last."""
    if cell in {"", UNDEFINED}:
        return 2, 0.0, ""
    if column.align == "left":
        return 0, 0.0, cell.casefold()
    found = _NUMBER.match(cell)
    if found is None:
        return 1, 0.0, cell.casefold()
    value = float(found[1].replace(",", ""))
    return 0, -value if column.best == "high" else value, ""
