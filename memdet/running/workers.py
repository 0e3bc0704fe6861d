"""Several processes share the units of one run."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from memdet.detectors import Detector
from memdet.errors import UserError
from memdet.running.manifest import threads_of_worker
from memdet.running.runner import RunOptions, Unit, Work
from memdet.running.store import RunDirectory
from memdet.samplesets import SampleSet

_work: Work | None = None
_directory: RunDirectory | None = None


def compute_in_processes(
    sample_sets: Sequence[SampleSet],
    detectors: Sequence[Detector],
    options: RunOptions,
    out: Path,
    units: Sequence[tuple[str, Unit]],
) -> Iterator[str]:
    """Compute the units of a run; every shard is written by the process that made it.

    Each process loads the models for itself and takes its part of the cores.

    Args:
        sample_sets, detectors, options: Of the run.
        out: Run directory, which the caller holds open.
        units: The sample set of each unit, and the unit.

    Yields:
        The sample set of each finished unit.

    Raises:
        UserError: A process was killed, for want of memory perhaps.
    """
    pool = ProcessPoolExecutor(
        options.workers,
        mp_context=multiprocessing.get_context("spawn"),  # a fork of a process with threads can hang
        initializer=_start,
        initargs=(sample_sets, detectors, options, out),
    )
    try:
        running = {pool.submit(_compute, name, unit.name): name for name, unit in units}
        for future in as_completed(running):
            future.result()
            yield running[future]
    except BrokenProcessPool:
        raise UserError(
            "a worker process ended, for want of memory perhaps; what is done is kept, the same command"
            " resumes, with fewer --workers if need be"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start(sample_sets: Sequence[SampleSet], detectors: Sequence[Detector], options: RunOptions, out: Path) -> None:
    global _work, _directory
    torch.set_num_threads(threads_of_worker(options.workers))
    _work, _directory = Work(sample_sets, detectors, options), RunDirectory(out)


def _compute(sample_set: str, name: str) -> None:
    assert _work is not None
    assert _directory is not None
    unit = next(unit for unit in _work.plan[sample_set] if unit.name == name)
    _work.compute(sample_set, unit, _directory)
