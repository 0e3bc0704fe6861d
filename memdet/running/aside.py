"""Detectors of others in a process of their own: what they change, print or end there is theirs alone."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from memdet.detectors import Detector
from memdet.errors import UserError
from memdet.probing import Cost
from memdet.running.ending import end_with_caller, why_ended
from memdet.running.memory import keep_freed_memory
from memdet.running.options import RunOptions
from memdet.running.scored import Scored
from memdet.running.work_plan import Unit
from memdet.samplesets import SampleSet
from memdet.source_files import reason
from memdet.torch_state import in_own_state

R = TypeVar("R")

_work: Any = None
_failed: Exception | None = None


class Aside:
    """Computes scores of some detectors in another process, which is started when it is first asked.

    The process has the models and items, and no labels, unless one of the detectors says that it learns from them. It
    is another process, not another machine: it can read what its user can read.

    Args:
        sample_sets: Of the run.
        detectors: Those that are computed there.
        options: Of the run.
        kind: What computes units, :class:`~memdet.running.scoring.Work`.
    """

    def __init__(
        self, sample_sets: Sequence[SampleSet], detectors: Sequence[Detector], options: RunOptions, kind: type[Any]
    ) -> None:
        supervised = any(detector.info.supervised for detector in detectors)
        given = [*sample_sets] if supervised else [_without_labels(one) for one in sample_sets]
        options = replace(options, isolate_plugins=False)
        self._start = (pickle.dumps((given, [*detectors], kind)), options, torch.get_num_threads())
        self._pool: ProcessPoolExecutor | None = None
        self._process: BaseProcess | None = None

    def ask(self, sample_set: str, ids: Sequence[str], unit: Unit, detector: Detector) -> Scored:
        """Scores of some items of a unit; a process that ended is an error of the detector.

        Raises:
            OutOfMemoryError: They do not fit.
            UserError: The process cannot make the detectors or load the models.
        """
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), initializer=_start, initargs=self._start
            )
        before = {*multiprocessing.active_children()}
        try:
            future = self._pool.submit(_score, sample_set, list(ids), replace(unit, detectors=(detector,)))
            if self._process is None:
                self._process = next(iter({*multiprocessing.active_children()} - before), None)
            return future.result()
        except BrokenProcessPool:
            self.close()
            return _ended(len(ids), self._forget())

    def close(self) -> None:
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _forget(self) -> int | None:
        """Exit status of the process, which is no more."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.join()
        return process.exitcode


def in_own_process(function: Callable[..., R], *arguments: Any) -> R:
    """Call a function in a new process.

    Args:
        function: Of a module's top level.
        arguments: They and the result are pickled.

    Raises:
        UserError: The process ended before the function came back.
    """
    before = {*multiprocessing.active_children()}
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), initializer=_guard) as pool:
        future = pool.submit(function, *arguments)
        process = next(iter({*multiprocessing.active_children()} - before), None)
        try:
            return future.result()
        except BrokenProcessPool:
            if process is not None:
                process.join()
            raise UserError(_told(None if process is None else process.exitcode)) from None


def _ended(n: int, status: int | None) -> Scored:
    return Scored([float("nan")] * n, ["error"] * n, Cost(), _told(status))


def _told(status: int | None) -> str:
    if status == 0:
        return "the detector's code ended its process, with status 0"
    return why_ended([status]).replace("a worker process", "the process of the detector", 1).partition(";")[0]


def _without_labels(sample_set: SampleSet) -> SampleSet:
    """The same with labels of the dev split alone, from which constants may be taken."""
    items = sample_set.items.copy()
    tested = items["split"] != "dev"
    for column, nothing in (("label", 0), ("stratum", ""), ("extraction", float("nan"))):
        items[column] = items[column].mask(tested, nothing)
    return replace(sample_set, items=items, _hashed=None)


def _guard() -> None:
    threading.Thread(target=end_with_caller, daemon=True).start()
    keep_freed_memory()


@in_own_state
def _start(work: bytes, options: RunOptions, threads: int) -> None:
    global _work, _failed
    _guard()
    torch.set_num_threads(threads)
    try:
        sample_sets, detectors, kind = pickle.loads(work)
        _work = kind(sample_sets, detectors, options, watched=False)
    except UserError as error:
        _failed = error
    except Exception as error:  # of a user's module
        _failed = UserError(
            f"plugins cannot be loaded in a process of their own: {type(error).__name__}: {reason(error)}"
        )


@in_own_state
def _score(sample_set: str, ids: list[str], unit: Unit) -> Scored:
    if _failed is not None:
        raise _failed
    found: Scored = _work.score(sample_set, ids, unit)[0]
    return found
