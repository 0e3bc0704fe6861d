"""memdet: benchmark suite and evaluation harness for detectors of memorization in diffusion models.

The public names load what they need when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memdet.detectors import Detector, DetectorInfo
    from memdet.evaluation import evaluate
    from memdet.models import load_model
    from memdet.probing import Probe
    from memdet.samplesets import load_sample_set

_HOMES = {
    "Detector": "memdet.detectors",
    "DetectorInfo": "memdet.detectors",
    "Probe": "memdet.probing",
    "evaluate": "memdet.evaluation",
    "load_model": "memdet.models",
    "load_sample_set": "memdet.samplesets",
}

__all__ = ["Detector", "DetectorInfo", "Probe", "evaluate", "load_model", "load_sample_set"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'memdet' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
