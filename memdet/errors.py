"""The errors that memdet raises on purpose."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend: wrong usage or bad input.

    The message is one line that says what is wrong, where, and how to mend it. The command line prints it without a
    traceback and exits with code 2.

    Args:
        message: Names parameters in backquotes.
        parameters: Those of them that are options of the command line too; it shows `` `name` `` as ``--name``.
    """

    def __init__(self, message: str = "", *, parameters: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.parameters = parameters


class NotApplicableError(Exception):
    """A detector cannot be computed on this model or sample set; the message says why.

    The runner records it as rows with status ``not-applicable``; it never stops a run.
    """
