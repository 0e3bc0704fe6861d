"""The errors that memdet raises on purpose."""

from __future__ import annotations

from memdet.io_utils import as_given, printable


class OneLine(Exception):
    """Its message is one line that can be printed anywhere, whatever it quotes of names, files or libraries."""

    def __init__(self, message: str = "") -> None:
        lines = as_given(str(message)).splitlines()
        super().__init__(printable(lines[0] if len(lines) == 1 else " ".join(map(str.strip, lines))))


class UserError(OneLine):
    r"""A mistake that the user can mend: wrong usage or bad input.

    The message is one line that says what is wrong, where, and how to mend it. The command line prints it without a
    traceback and exits with code 2.

    Args:
        message: Names parameters in backquotes. What it quotes may have lines and control characters; lines are joined,
            and control characters become escapes.
        parameters: Those of them that are options of the command line too; it shows `` `name` `` as ``--name``.

    Example:
        >>> str(UserError("a.csv: column 'a\x1b[2J' is there twice;\nrename one"))
        "a.csv: column 'a\\x1b[2J' is there twice; rename one"
    """

    def __init__(self, message: str = "", *, parameters: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.parameters = parameters


class NotApplicableError(OneLine):
    """A detector cannot be computed on this model or sample set; the message says why.

    The runner records it as rows with status ``not-applicable``; it never stops a run.
    """
