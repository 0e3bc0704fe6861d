"""Runner: sample sets scored by detectors."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from memdet.running.options import RunOptions
from memdet.running.runner import run

__all__ = ["RunOptions", "run"]


def _read_manifest(path: str | Path) -> dict[str, Any]:
    from memdet.results.manifest import Manifest

    return Manifest.read(Path(path)).model_dump(mode="json")


def _read_scores(path: str | Path) -> Any:
    from memdet.results.store import read_scores

    return read_scores(Path(path))


def __getattr__(name: str) -> Any:
    """Former names, which :mod:`memdet.results` has now."""
    if name == "SCORES":
        from memdet.results import SCORES

        warnings.warn("memdet.running.SCORES is now memdet.results.SCORES", DeprecationWarning, stacklevel=2)
        return SCORES
    former = {"read_manifest": _read_manifest, "read_scores": _read_scores}
    if name not in former:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    warnings.warn(f"memdet.running.{name}: use memdet.load_run", DeprecationWarning, stacklevel=2)
    return former[name]
