"""What a caller may have told torch for the whole process, each undone afterwards."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def _told(tell: Callable[[Any], Any], value: Any, usual: Any) -> Iterator[None]:
    tell(value)
    try:
        yield
    finally:
        tell(usual)


def _autocast() -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16)


def _reseeded(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)


def _tf32(value: str) -> None:
    torch.backends.fp32_precision = value


STATES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "float64": lambda: _told(torch.set_default_dtype, torch.float64, torch.float32),
    "bfloat16": lambda: _told(torch.set_default_dtype, torch.bfloat16, torch.float32),
    "meta device": lambda: _told(torch.set_default_device, "meta", None),
    "within a device": lambda: torch.device("meta"),
    "inference mode": torch.inference_mode,
    "no grad": torch.no_grad,
    "autocast": _autocast,
    "deterministic": lambda: _told(torch.use_deterministic_algorithms, True, False),
    "medium products": lambda: _told(torch.set_float32_matmul_precision, "medium", "highest"),
    "tf32": lambda: _told(_tf32, "tf32", "none"),
    "other seeds": lambda: _told(_reseeded, 12_345, 0),
}


def told() -> dict[str, Any]:
    """What torch and the generators of the process are told now, so that two moments can be compared."""
    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "inference": torch.is_inference_mode_enabled(),
        "grad": torch.is_grad_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "deterministic": torch.get_deterministic_debug_mode(),
        "precision": [torch._C._get_fp32_precision_getter("mkldnn", op) for op in ("all", "matmul", "conv")],
        "generic": torch._C._get_fp32_precision_getter("generic", "all"),
        "threads": torch.get_num_threads(),
        "torch": torch.default_generator.get_state().tolist(),
        "numpy": str(np.random.get_state()[1:]),
        "python": random.getstate(),
    }
