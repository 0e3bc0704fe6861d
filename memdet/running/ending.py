"""How processes that compute for another one end, and what their exit status says."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterable

NO_GUARD = 86  # exit status of a worker that was led back to the call that started it
_RESUMES = "what is done is kept, the same command resumes"


def why_ended(statuses: Iterable[int | None]) -> str:
    """What exit statuses of worker processes say of the end of one of them; the others are terminated by the pool.

    Args:
        statuses: As `multiprocessing` gives them, below 0 for a signal.

    Example:
        >>> why_ended([-15, -11])
        'a worker process ended by SIGSEGV, a crash of compiled code; what is done is kept, the same command resumes'
    """
    ended = [status for status in statuses if status]
    status = next((one for one in ended if one != -signal.SIGTERM), ended[0] if ended else None)
    if status == NO_GUARD:
        return (
            "a worker process ended where the script calls memdet again, for every worker reads the script first: put "
            'what it runs under `if __name__ == "__main__":`, or do without further processes'
        )
    if status is None:
        return f"a worker process ended, and left no status; {_RESUMES}"
    if status > 0:
        return f"a worker process ended with status {status}, and said why on standard error; {_RESUMES}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    if name == "SIGKILL":
        return (
            "a worker process ended by SIGKILL: the system sends it where memory is used up, or somebody did; "
            f"{_RESUMES}, with fewer `workers` if it was memory"
        )
    crashes = {"SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"}
    what = ", a crash of compiled code" if name in crashes else ", which somebody sent"
    return f"a worker process ended by {name}{what}; {_RESUMES}"


def end_with_caller() -> None:
    """End this process when its caller is gone, were it killed: nobody waits for the rest, and what is done is kept."""
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    os._exit(1)
