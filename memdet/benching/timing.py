"""How long a call takes on a device."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

from memdet.models.device import synchronise

CPUINFO = Path("/proc/cpuinfo")
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


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of one call: by events in the stream on CUDA, by the clock around two synchronisations elsewhere."""
    synchronise(device)
    if device.type == "cuda":
        with torch.cuda.device(device):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]  # torch is not annotated
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
        Seconds of the first call: beside the work itself, what was not done before (memory taken, say).
    """
    first = before = call()
    for _ in range(MOST_WARM_UPS):
        now = call()
        if abs(now - before) <= STABLE * before:
            break
        before = now
    return first


def device_state(device: torch.device) -> dict[str, str]:
    """What a device's speed depends on, as it is now.

    Args:
        device: Where the work was done.

    Returns:
        CUDA: driver, clocks, power and temperature as ``nvidia-smi`` tells them. MPS: the release of macOS, which its
        driver comes with. CPU: clock in MHz and load of the last minute, where the system tells them. What cannot be
        found out is left out.
    """
    if device.type == "cuda":
        return _cuda_state(device)
    state = {}
    if device.type == "mps":
        state["macos"] = platform.mac_ver()[0]
    told = CPUINFO.read_text(encoding="utf-8") if CPUINFO.exists() else ""
    if clock := re.search(r"^cpu MHz\s*: (.+)$", told, re.MULTILINE):
        state["clocks.cpu"] = f"{float(clock[1]):.0f} MHz"
    if hasattr(os, "getloadavg"):
        state["load"] = f"{os.getloadavg()[0]:.2f}"
    return state


def _cuda_state(device: torch.device) -> dict[str, str]:
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
