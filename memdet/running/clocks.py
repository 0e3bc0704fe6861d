"""How long a call takes on a device."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

import torch

MOST_WARM_UPS = 10
_QUERIED = (
    "driver_version",
    "clocks.sm",
    "clocks.max.sm",
    "clocks.mem",
    "power.draw",
    "power.limit",
    "temperature.gpu",
)
STABLE = 0.1  # relative change between two calls after which a device counts as warm


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call: by events in the stream on CUDA, by the clock around two synchronisations elsewhere."""
    synchronise(device)
    if device.type == "cuda":
        with torch.cuda.device(device):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
            call()
            end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1_000
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def warm_up(call: Callable[[], float]) -> float:
    """Repeat a timed call until two in a row agree within a tenth, ten times at most.

    Returns:
        Seconds of the first call: beside the work itself, what is done once (kernels chosen, memory taken).
    """
    first = before = call()
    for _ in range(MOST_WARM_UPS):
        now = call()
        if abs(now - before) <= STABLE * before:
            break
        before = now
    return first


def gpu_state(device: torch.device) -> dict[str, str]:
    """Driver, clocks, power and temperature of a CUDA device as ``nvidia-smi`` tells them now; empty elsewhere."""
    if device.type != "cuda":
        return {}
    identity = str(torch.cuda.get_device_properties(device).uuid)
    command = [
        "nvidia-smi",
        f"--id={identity if identity.startswith(('GPU-', 'MIG-')) else 'GPU-' + identity}",
        f"--query-gpu={','.join(_QUERIED)}",
        "--format=csv,noheader",
    ]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(_QUERIED, (value.strip() for value in answer.strip().split(",")), strict=False))
