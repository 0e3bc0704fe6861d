"""Runner: sample sets scored by detectors.

The public names load what they need when they are first used; what a run consists of needs no torch.
"""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memdet.running.options import RunOptions
    from memdet.running.runner import run

_HOMES = {"RunOptions": "options", "run": "runner"}

__all__ = ["RunOptions", "run"]


def _read_manifest(path: str | Path) -> dict[str, Any]:
    from memdet.results.manifest import Manifest

    return Manifest.read(Path(path)).model_dump(mode="json")


def _read_scores(path: str | Path) -> Any:
    from memdet.results.store import read_scores

    return read_scores(Path(path))


def __getattr__(name: str) -> Any:
    """Public names, and former ones, which :mod:`memdet.results` has now."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "SCORES":
        from memdet.results import SCORES

        warnings.warn("memdet.running.SCORES is now memdet.results.SCORES", DeprecationWarning, stacklevel=2)
        return SCORES
    former = {"read_manifest": _read_manifest, "read_scores": _read_scores}
    if name not in former:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"memdet.running.{name}: use memdet.load_run", DeprecationWarning, stacklevel=2)
    return former[name]


def __dir__() -> list[str]:
    return __all__
