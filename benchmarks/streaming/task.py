"""What a process is asked to run, as its parent hands it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

DETECTORS = ("wen2024", "curvature-gap")
STUB = "stub"


@dataclass(frozen=True)
class Task:
    """Runs of one file of prompts.

    Attributes:
        samples: The file.
        detectors: Labels; all controls are added.
        model: A name, or ``stub`` for a network of fixed cost.
        batch_size: Prompts a batch.
        noise: ``shared`` or ``per-item``.
        runs: How often.
        warm_up: File of a run before these, which is not measured.
    """

    samples: str
    detectors: Sequence[str] = DETECTORS
    model: str = STUB
    batch_size: int = 50
    noise: str = "shared"
    runs: int = 1
    warm_up: str | None = None
