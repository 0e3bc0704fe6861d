"""Devices that work on while the host goes on."""

from __future__ import annotations

import torch

from memdet.errors import UserError


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def device_named(name: str) -> str:
    """A device that works here; ``auto`` takes CUDA where it is, then MPS, else the CPU.

    Args:
        name: ``auto``, or as torch names devices: ``cpu``, ``cuda:1``, ``mps``.

    Raises:
        UserError: It does not work here.

    Example:
        >>> device_named("cpu")
        'cpu'
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"`device` {name!r} does not work here: {reason}", parameters=("device",)) from None
    return name
