"""memdet: benchmark suite and evaluation harness for detectors of memorization in diffusion models.

The public names load what they need when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memdet.detectors import Detector, DetectorInfo, Headline
    from memdet.evaluation import evaluate, get_detector, load_run
    from memdet.models import Condition, LoadOptions, NoiseSchedule, ScoreModel, load_model
    from memdet.probing import Probe
    from memdet.results import Run
    from memdet.samplesets import SampleSet, load_sample_set

    __version__: str

_HOMES = {
    "Condition": "memdet.models",
    "Detector": "memdet.detectors",
    "DetectorInfo": "memdet.detectors",
    "Headline": "memdet.detectors",
    "LoadOptions": "memdet.models",
    "NoiseSchedule": "memdet.models",
    "Probe": "memdet.probing",
    "Run": "memdet.results",
    "SampleSet": "memdet.samplesets",
    "ScoreModel": "memdet.models",
    "evaluate": "memdet.evaluation",
    "get_detector": "memdet.evaluation",
    "load_model": "memdet.models",
    "load_run": "memdet.evaluation",
    "load_sample_set": "memdet.samplesets",
}

__all__ = [
    "Condition",
    "Detector",
    "DetectorInfo",
    "Headline",
    "LoadOptions",
    "NoiseSchedule",
    "Probe",
    "Run",
    "SampleSet",
    "ScoreModel",
    "__version__",
    "evaluate",
    "get_detector",
    "load_model",
    "load_run",
    "load_sample_set",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("memdet")
    if name not in _HOMES:
        raise AttributeError(f"module 'memdet' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
