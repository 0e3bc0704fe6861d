"""Tables for a paper: LaTeX with booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from memdet.io_utils import printable
from memdet.tables.table import Table

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "*": r"\textsuperscript{*}",
} | {letter: "\\" + letter for letter in "&%$#_"}


def document(tables: Iterable[tuple[str, Table]], legend: str) -> str:
    r"""One ``table`` each; what includes it needs ``\usepackage{booktabs}`` and ``\usepackage{graphicx}``.

    Args:
        tables: With what their labels are made of; of two that would have one label the later gets a number.
        legend: Follows the title in every caption.
    """
    taken: dict[str, int] = {}
    drawn = []
    for name, table in tables:
        label = label_of(name)
        taken[label] = taken.get(label, 0) + 1
        drawn.append(draw(table, name if taken[label] == 1 else f"{name} {taken[label]}", legend))
    return "\n\n".join([r"% Needs \usepackage{booktabs} and \usepackage{graphicx}.", *drawn])


def draw(table: Table, name: str, legend: str) -> str:
    """A table as wide as the text, its notes below it.

    Args:
        table: With a title.
        name: What the label is made of: ``small v1`` becomes ``tab:small-v1``.
        legend: Follows the title in the caption.
    """
    rows = [_line(row) for row in table.rows]
    if table.rule_after is not None and table.rule_after < len(rows):
        rows.insert(table.rule_after, r"\midrule")
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.title)}. {escape(legend)}}}",
        rf"\label{{tab:{label_of(name)}}}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{{''.join(column.align[0] for column in table.columns)}}}",
        r"\toprule",
        _line(table.headers),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}}",
        *(rf"\par\footnotesize {escape(note)}" for note in table.notes),
        r"\end{table}",
    ]
    return "\n".join(lines)


def label_of(name: str) -> str:
    """What a label takes of a name: letters and digits without accents, and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def escape(text: str) -> str:
    r"""Text that LaTeX prints as it is; the hyphen before a number becomes a minus.

    Example:
        >>> print(escape("prompt_case 1 % -.12"))
        prompt\_case 1 \% $-$.12
    """
    text = "".join(_ESCAPES.get(letter, letter) for letter in printable(text))
    text = re.sub(r"(?<![\w.-])-(?=\.?\d)", "$-$", text)
    return re.sub(r"-(?=-)|[?!](?=`)|`(?=`)|'(?=')|,(?=,)", r"\g<0>{}", text)  # which would print as one sign


def _line(cells: Sequence[str]) -> str:
    """A bracket at the start of a line would be an argument of the line break before it."""
    line = " & ".join(map(escape, cells))
    return (f"{{[}}{line[1:]}" if line.startswith("[") else line) + r" \\"
