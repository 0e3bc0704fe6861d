"""The run that the faults are tried on: a closed form, two detectors, some units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memdet.detectors import detector_classes, make_detectors
from memdet.results import Run
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set


def small_run(out: Path, *, workers: int = 1, seeds: int = 2, batch_size: int = 50, **options: Any) -> Run:
    """Run it, or go on with it: 1,200 rows in 16 units by default."""
    detectors = make_detectors(["wen2024@steps=2", "random"], detector_classes())
    options = RunOptions(seeds=seeds, batch_size=batch_size, workers=workers, **options)
    return run([load_sample_set("mixture-2d")], detectors, out, options, progress=False)
