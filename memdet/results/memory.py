"""Memory that Arrow and the C library hold free, given back between the parts of a long run."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

import pyarrow as pa

_MANY_ROWS = 2**12


def give_back_memory(rows: int = _MANY_ROWS) -> None:
    """Give the system what Arrow and the C library hold free: after reading, fitting or joining, before other work.

    What is kept free in one of them is of no use to the others, so that peaks of parts of a run would add up. But what
    is given back has to be taken anew, page by page, so a run of few items keeps it.

    Args:
        rows: That were worked on, many by default; of fewer than 4,096 nothing is given back.
    """
    if rows < _MANY_ROWS:
        return
    pa.default_memory_pool().release_unused()
    trim = glibc("malloc_trim")
    if trim is not None:
        trim(0)


def glibc(name: str) -> Callable[..., int] | None:
    """A function of the GNU C library, where it has it."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
