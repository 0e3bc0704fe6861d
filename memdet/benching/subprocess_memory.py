"""Peak memory of a call, in a process of its own."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import torch

from memdet.errors import UserError
from memdet.running.ending import NO_GUARD, why_ended
from memdet.running.memory import OutOfMemoryError, peak_resident
from memdet.running.workers import leave_if_starting


def peak_of_process(device: str, work: Callable[..., None], *arguments: Any) -> int | None:
    """Call ``work`` in a new process and take its peak.

    Args:
        device: On CUDA the peak of what the allocator gave out; else the peak resident memory of the process, the
            interpreter and all libraries included.
        work: Picklable, as are its arguments.
        arguments: Of the call.

    Returns:
        Bytes; None where the system does not tell, or the process did not live.

    Raises:
        UserError: The script that calls this has no main guard, so that the new process would call it too.
    """
    leave_if_starting()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        future = pool.submit(_peak_of, torch.get_num_threads(), device, work, arguments)
        started = multiprocessing.active_children()
        try:
            return future.result()
        except (torch.OutOfMemoryError, OutOfMemoryError):  # the caller holds memory too
            return None
        except BrokenProcessPool:
            pool.shutdown()
            if any(process.exitcode == NO_GUARD for process in started):
                raise UserError(why_ended([NO_GUARD])) from None
            return None


def _peak_of(threads: int, device: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> int | None:
    torch.set_num_threads(threads)
    work(*arguments)
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    return peak_resident()
