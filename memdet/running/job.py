"""A run that is to be computed, as the engines take it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from memdet.detectors import Detector
from memdet.results.sinks import Sink
from memdet.running.options import RunOptions
from memdet.running.scoring import Work
from memdet.samplesets import SampleSet


@dataclass(frozen=True)
class Job:
    """A run that is to be computed.

    Attributes:
        sample_sets, detectors, options: Of the run.
        work: Its units, and what computes them in this process.
        sink: Where the shards go, held open.
    """

    sample_sets: Sequence[SampleSet]
    detectors: Sequence[Detector]
    options: RunOptions
    work: Work
    sink: Sink
