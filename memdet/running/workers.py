"""Several processes share the units of one run."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from memdet.detectors import Detector
from memdet.errors import UserError
from memdet.running.manifest import threads_of_worker
from memdet.running.memory import keep_freed_memory
from memdet.running.runner import RunOptions, Unit, Work
from memdet.running.store import RunDirectory
from memdet.samplesets import SampleSet

GROUPS_PER_WORKER = 4

_work: Work | None = None
_directory: RunDirectory | None = None


def compute_in_processes(
    sample_sets: Sequence[SampleSet],
    detectors: Sequence[Detector],
    options: RunOptions,
    out: Path,
    units: Sequence[tuple[str, Unit]],
) -> Iterator[tuple[str, int]]:
    """Compute the units of a run; every shard is written by the process that made it.

    Each process loads the models for itself and takes its part of the cores. The units of one sample set, model and
    seed share evaluations and constants, so they stay in one process where there are several such groups for each.

    Args:
        sample_sets, detectors, options: Of the run.
        out: Run directory, which the caller holds open.
        units: The sample set of each unit, and the unit.

    Yields:
        The sample set of what has been finished, and how many units it was.

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
        running = {pool.submit(_compute, name, group): (name, len(group)) for name, group in _groups(units, options)}
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
    threading.Thread(target=_end_with_caller, daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(threads_of_worker(options.workers))
    _work, _directory = Work(sample_sets, detectors, options), RunDirectory(out)


def _end_with_caller() -> None:
    """End this process when its caller is gone, were it killed: nobody waits for the rest, and what is done is kept."""
    caller = multiprocessing.parent_process()
    assert caller is not None
    caller.join()
    os._exit(1)


def _groups(units: Sequence[tuple[str, Unit]], options: RunOptions) -> list[tuple[str, list[str]]]:
    """What one process does in one go: a sample set and the names of its units, the largest groups first."""
    groups: dict[tuple[str, str, int], list[str]] = {}
    for name, unit in units:
        groups.setdefault((name, unit.model, unit.seed), []).append(unit.name)
    if len(groups) < GROUPS_PER_WORKER * options.workers:
        return [(name, [unit.name]) for name, unit in units]
    return [(owner[0], names) for owner, names in sorted(groups.items(), key=lambda pair: -len(pair[1]))]


def _compute(sample_set: str, names: Sequence[str]) -> None:
    assert _work is not None
    assert _directory is not None
    for unit in _work.plan[sample_set]:
        if unit.name in names:
            _work.compute(sample_set, unit, _directory)
