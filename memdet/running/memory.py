"""How freed memory is kept, and given back."""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names that glibc's mallopt goes by


def keep_freed_memory() -> bool:
    """Let glibc keep large blocks that are freed, instead of asking the system anew for every tensor.

    A network on the CPU frees and allocates the same blocks at every step; given back each time, their pages are
    cleared and mapped again, which takes a fifth of the time. The process keeps its peak.

    Returns:
        Whether the C library took it; others than glibc have no such switch.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(name, 1 << 30) for name in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))


def give_back_memory() -> None:
    """Give the system what Arrow and the C library hold free: after reading, fitting or joining, before other work.

    What is kept free in one of them is of no use to the others, so that peaks of parts of a run would add up.
    """
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
