"""How the memory of this process is kept, and how an error says that it is used up."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from memdet.errors import UserError
from memdet.results.memory import glibc

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # names that glibc's mallopt goes by
_STATUS = Path("/proc/self/status")


def keep_freed_memory() -> bool:
    """Let glibc keep large blocks that are freed, instead of asking the system anew for every tensor.

    A network on the CPU frees and allocates the same blocks at every step; given back each time, their pages are
    cleared and mapped again, which takes a fifth of the time. The process keeps its peak. This is a setting of the
    whole process, so the command line and worker processes ask for it, and no function of the library does.

    Older versions of glibc map blocks above 32 MiB whatever is asked.

    Returns:
        Whether the C library took it; others than glibc have no such switch.
    """
    mallopt = glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(_TRIM_THRESHOLD, 1 << 30)) and any(mallopt(_MMAP_THRESHOLD, 1 << size) for size in (30, 25))


def peak_resident() -> int | None:
    """Largest resident memory that this process had so far, in bytes; None where the system does not tell."""
    if sys.platform == "linux":  # getrusage starts from what the caller had when it made this process
        lines = _STATUS.read_text(encoding="utf-8").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
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
    """A batch that does not fit.

    Args:
        where: What was being computed.
        items: Of the batch.
    """

    def __init__(self, where: str, items: int) -> None:
        self.where, self.items = where, items
        many = f"{items} items at once" if items > 1 else "a single item"
        super().__init__(
            f"out of memory in {where} with {many}: take another device or dtype, or leave this detector out; what is"
            " done is kept"
        )

    def __reduce__(self) -> tuple[type[OutOfMemoryError], tuple[str, int]]:
        return type(self), (self.where, self.items)
