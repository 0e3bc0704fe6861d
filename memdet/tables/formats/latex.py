"""The table for a paper: LaTeX with booktabs."""

from __future__ import annotations

import re

from memdet.tables.run_table import HEADERS, LEGEND, Rows, tables_of

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


def to_latex(rows: Rows) -> str:
    r"""One ``table`` a sample set; a document needs ``\usepackage{booktabs}``."""
    parts = [r"% Needs \usepackage{booktabs} and \usepackage{graphicx}."]
    for title, cells, notes in tables_of(rows):
        place = title.partition(":")[0] + title.partition(", run")[2]
        label = re.sub(r"[^a-z0-9]+", "-", place.lower())
        body = [" & ".join(escape(cell) for cell in row) + r" \\" for row in [HEADERS, *cells]]
        parts.append(
            "\n".join(
                [
                    r"\begin{table}",
                    r"\centering",
                    rf"\caption{{{escape(title)}. {escape(LEGEND)}}}",
                    rf"\label{{tab:{label}}}",
                    r"\resizebox{\linewidth}{!}{%",
                    rf"\begin{{tabular}}{{l{'r' * (len(HEADERS) - 2)}l}}",
                    r"\toprule",
                    body[0],
                    r"\midrule",
                    *body[1:],
                    r"\bottomrule",
                    r"\end{tabular}}",
                    *(rf"\par\footnotesize {escape(note)}" for note in notes),
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(parts)


def escape(text: str) -> str:
    r"""Text that LaTeX prints as it is; the hyphen before a number becomes a minus.

    Example:
        >>> print(escape("prompt_case 1 % -.12"))
        prompt\_case 1 \% $-$.12
    """
    text = "".join(_ESCAPES.get(letter, letter) for letter in text)
    return re.sub(r"(?<![\w.])-(?=\.?\d)", "$-$", text)
