"""How freed memory is kept or given back, how much is free, and how much some work takes at its largest."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import torch

from memdet.benching.projection.op_trace import peak_bytes
from memdet.errors import UserError

_MANY_ROWS = 2**12
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names that glibc's mallopt goes by
_SELF = Path("/proc/self")


def keep_freed_memory() -> bool:
    """Let glibc keep large blocks that are freed, instead of asking the system anew for every tensor.

    A network on the CPU frees and allocates the same blocks at every step; given back each time, their pages are
    cleared and mapped again, which takes a fifth of the time. The process keeps its peak.

    Older versions of glibc map blocks above 32 MiB whatever is asked.

    Returns:
        Whether the C library took it; others than glibc have no such switch.
    """
    mallopt = _glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, 1 << 30)) and any(mallopt(_MMAP_THRESHOLD, 1 << size) for size in (30, 25))


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
    trim = _glibc("malloc_trim")
    if trim is not None:
        trim(0)


def free_memory(device: torch.device) -> int:
    """Bytes that tensors can still take: on CUDA what the device has free, elsewhere what the system can give."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def peak_memory(work: Callable[[], object], device: torch.device) -> int:
    """Bytes that some work took at its largest, beside what was held before.

    On CUDA what the allocator gave; on the CPU under Linux the growth of the process; elsewhere the largest sum of
    tensors alive at a time.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device)) - before
    trim = _glibc("malloc_trim")
    if device.type != "cpu" or trim is None or not _reset_peak():
        return peak_bytes(work)
    trim(0)  # freed blocks that are kept would be used again unseen
    _reset_peak()
    before = _status("VmRSS")
    work()
    return max(0, _status("VmHWM") - before)


def peak_resident() -> int | None:
    """Largest resident memory that this process had so far, in bytes; None where the system does not tell."""
    if sys.platform == "linux":
        return _status("VmHWM")  # getrusage starts from what the caller had when it made this process
    if sys.platform != "darwin":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device, or the process, had no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    # The CPU's allocator and the one of MPS raise the general class.
    return isinstance(error, RuntimeError) and any(
        words in str(error) for words in ("not enough memory", "can't allocate memory", "out of memory")
    )


class OutOfMemoryError(UserError):
    """A batch that does not fit; the whole run is concerned.

    Args:
        where: What was being computed.
        items: Of the batch.
    """

    def __init__(self, where: str, items: int) -> None:
        self.where, self.items = where, items
        super().__init__(
            f"out of memory in {where} with {items} items at once: take another --out and a smaller --batch-size, or"
            " --batch-size measure with a smaller --memory-budget"
        )

    def __reduce__(self) -> tuple[type[OutOfMemoryError], tuple[str, int]]:
        return type(self), (self.where, self.items)


def _glibc(name: str) -> Callable[..., int] | None:
    """A function of the C library, where it has it."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


def _reset_peak() -> bool:
    """Have the kernel forget the largest size of this process so far; whether it does that."""
    try:
        (_SELF / "clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _status(field: str) -> int:
    """Bytes of a field of ``/proc/self/status``."""
    lines = (_SELF / "status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(field))
