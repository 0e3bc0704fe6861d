"""Text of others, made safe to print."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text with every character that is not printable written as an escape.

    Prompts, file names and column names come from others; a control character among them could move the cursor, colour
    the terminal or reverse the line.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
