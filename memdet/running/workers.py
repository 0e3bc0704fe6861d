"""Several processes share the units of one run."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from memdet.detectors import Detector
from memdet.errors import UserError
from memdet.results.sinks import RunDirectory
from memdet.running.description import threads_of_worker
from memdet.running.memory import keep_freed_memory
from memdet.running.options import RunOptions
from memdet.running.scoring import Work
from memdet.running.work_plan import Units
from memdet.samplesets import SampleSet

GROUPS_PER_WORKER = 4
PARTS_PER_WORKER = 64

_work: Work | None = None
_directory: RunDirectory | None = None


def compute_in_processes(
    sample_sets: Sequence[SampleSet],
    detectors: Sequence[Detector],
    options: RunOptions,
    out: Path,
    plan: Mapping[str, Units],
) -> Iterator[tuple[str, int]]:
    """Compute the units of a run; every shard is written by the process that made it.

    Each process loads the models for itself and takes its part of the cores. The units of one sample set, model and
    seed share evaluations and constants, so they stay in one process where there are several such groups for each.

    Args:
        sample_sets, detectors, options: Of the run.
        out: Run directory, which the caller holds open.
        plan: Units of each sample set.

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
        running = {
            pool.submit(_compute, name, group): (name, len(group)) for name, group in _groups(plan, options.workers)
        }
        for future in as_completed(running):
            future.result()
            yield running[future]
    except BrokenProcessPool:
        raise UserError(
            "a worker process ended, for want of memory perhaps; what is done is kept, the same command"
            " resumes, with fewer `workers` if need be",
            parameters=("workers",),
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


def _groups(plan: Mapping[str, Units], workers: int) -> list[tuple[str, range]]:
    """What one process does in one go: a sample set and indices of units that follow each other, the largest first.

    All that share a model and a seed where there are enough such groups, else parts of these; the parts are as many as
    a few for each process, so that their number does not grow with that of the items.
    """
    groups = [(name, indices) for name, units in plan.items() for indices in units.ranges()]
    owned = len({(name, part.model, part.seed) for name, units in plan.items() for part in units.sections})
    if owned < GROUPS_PER_WORKER * workers:
        size = -(-max(1, sum(map(len, plan.values()))) // (PARTS_PER_WORKER * workers))
        return [(name, whole[start : start + size]) for name, whole in groups for start in range(0, len(whole), size)]
    return sorted(groups, key=lambda pair: -len(pair[1]))


def _compute(sample_set: str, indices: range) -> None:
    assert _work is not None
    assert _directory is not None
    for index in indices:
        _work.compute(sample_set, _work.plan[sample_set][index], _directory)
