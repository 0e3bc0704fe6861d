"""Published peaks of devices, for projections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from memdet.errors import UserError

PRECISIONS = ("float32", "tf32", "bfloat16", "float16")


@dataclass(frozen=True)
class Device:
    """What a maker's data sheet says.

    Attributes:
        title: In tables.
        flops: Dense peak of matrix products, FLOP/s, by precision; sums in float32. ``float32`` is without tensor
            cores, ``tf32`` the same numbers through them. A precision that is not there is not supported.
        bandwidth: Of the device memory, bytes a second.
        memory: Bytes, of the gigabytes on the data sheet as decimal ones; where they are binary, the rest is a reserve.
    """

    title: str
    flops: Mapping[str, float]
    bandwidth: float
    memory: float


def _device(title: str, peaks: Sequence[float | None], bandwidth: float, memory: int) -> Device:
    """From TFLOP/s in the order of ``PRECISIONS``, GB/s and GB."""
    flops = {name: peak * 1e12 for name, peak in zip(PRECISIONS, peaks, strict=True) if peak is not None}
    return Device(title, flops, bandwidth * 1e9, memory * 1e9)


# NVIDIA: data sheets of H100, H200, A100, L4 and T4 (half of what they give with sparsity), white papers of Hopper, Ada
# and Turing.
DEVICES: dict[str, Device] = {
    "h100": _device("NVIDIA H100 SXM 80 GB", (66.9, 494.7, 989.4, 989.4), 3_350, 80),
    "h200": _device("NVIDIA H200 SXM 141 GB", (66.9, 494.7, 989.4, 989.4), 4_800, 141),
    "a100": _device("NVIDIA A100 SXM 80 GB", (19.5, 156, 312, 312), 2_039, 80),
    "l4": _device("NVIDIA L4", (30.3, 60, 121, 121), 300, 24),
    "4090": _device("NVIDIA GeForce RTX 4090", (82.6, 82.6, 165.2, 165.2), 1_008, 24),
    "t4": _device("NVIDIA T4", (8.1, None, None, 65), 320, 16),
}


def peaks_of(name: str, precision: str) -> Device:
    """A device that has a precision.

    Raises:
        UserError: Unknown device or precision, or the device does not support it.
    """
    if name not in DEVICES:
        raise UserError(f"`device` {name!r} has no published peaks here: {', '.join(DEVICES)}", parameters=("device",))
    if precision not in PRECISIONS:
        raise UserError(f"`dtype` {precision!r} is not known: {', '.join(PRECISIONS)}", parameters=("dtype",))
    device = DEVICES[name]
    if precision not in device.flops:
        raise UserError(f"{device.title} has no {precision}: {', '.join(device.flops)}")
    return device
