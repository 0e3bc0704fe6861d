"""Several processes share the units of one run."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.context import SpawnContext
from multiprocessing.process import BaseProcess
from multiprocessing.queues import SimpleQueue
from operator import attrgetter
from pathlib import Path

import torch

from memdet.detectors import Detector
from memdet.detectors.plugins import AT_THE_TOP
from memdet.errors import UserError
from memdet.models import ScoreModel
from memdet.models.own_file import is_own_file
from memdet.results.manifest import Manifest
from memdet.results.sinks import RunDirectory, Share
from memdet.running.description import threads_asked, threads_of_worker
from memdet.running.ending import NO_GUARD, end_with_caller, why_ended
from memdet.running.memory import keep_freed_memory
from memdet.running.options import RunOptions
from memdet.running.scoring import Work, load_models
from memdet.running.work_plan import Units, by_owner
from memdet.samplesets import SampleSet
from memdet.source_files import reason
from memdet.torch_state import in_own_state

GROUPS_PER_WORKER = 4
PARTS_PER_WORKER = 64

_work: Work | None = None
_directory: RunDirectory | None = None
_failed: Exception | None = None


def leave_if_starting() -> None:
    """End a process that is only starting: it reads the caller's script to that end, and the script has no guard."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(NO_GUARD)


def check_workers(detectors: Sequence[Detector]) -> None:
    """Refuse what several processes cannot do, before anything is loaded.

    Args:
        detectors: Of the run; each process makes them again.

    Raises:
        UserError: This process may start no others, or a detector cannot be made again in another one.
    """
    leave_if_starting()
    if multiprocessing.current_process().daemon:
        raise UserError(
            "this process is a daemonic worker of another pool, which may start no processes: take one worker, "
            "`workers` 1",
            parameters=("workers",),
        )
    for detector in detectors:
        cls, file = type(detector), getattr(sys.modules.get(type(detector).__module__), "__file__", None)
        if cls.__module__ == "__main__" and not (file and Path(file).is_file()):
            raise UserError(
                f"detector {detector.label} is defined in a notebook, at a prompt or on standard input, where other "
                f"processes cannot read it: {AT_THE_TOP}; or take one worker, `workers` 1",
                parameters=("workers",),
            )
        try:
            at_home = attrgetter(cls.__qualname__)(sys.modules[cls.__module__]) is cls
            pickle.dumps(detector)
        except Exception as error:  # whatever a user's object says to it
            at_home, why = False, f" ({type(error).__name__}: {reason(error)})"
        else:
            why = ""
        if not at_home:
            raise UserError(
                f"detector {detector.label} cannot be made again in other processes{why}: {AT_THE_TOP}, and keep what "
                "it holds in its options; or take one worker, `workers` 1",
                parameters=("workers",),
            )


def compute_in_processes(
    sample_sets: Sequence[SampleSet],
    detectors: Sequence[Detector],
    options: RunOptions,
    share: Share,
    work: Work,
) -> Iterator[tuple[str, int]]:
    """Compute the units of a run; every shard is written by the process that made it.

    Each process loads the models for itself and takes its part of the cores. The units of one model and seed share
    evaluations, constants and items, so they stay in one process where there are several such groups for each.

    Args:
        sample_sets, detectors, options: Of the run.
        share: Of the run directory, which the caller holds open.
        work: What computes the units in this process; each of the others makes its own, of the same class.

    Yields:
        The sample set of what has been finished, and how many units it was.

    Raises:
        UserError: A process ended, or could not start: why.
    """
    before = multiprocessing.active_children()
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads can hang
    pool = ProcessPoolExecutor(
        options.workers,
        mp_context=context,
        initializer=_start,
        initargs=(pickle.dumps((sample_sets, detectors, type(work))), options, share, _devices(options, context)),
    )
    started: list[BaseProcess] = []
    try:
        running: dict[Future[None], list[tuple[str, range]]] = {}
        with _readable_main(), _deaf_to_interrupts():
            for group in _groups(work.plan, options.workers):
                running[pool.submit(_compute, group)] = group
                if len(started) < options.workers:  # they are started as work comes, and forgotten when they end
                    started = [*{*started, *multiprocessing.active_children()}.difference(before)]
        for future in as_completed(running):
            future.result()
            yield from ((name, len(indices)) for name, indices in running[future])
    except BrokenProcessPool:
        pool.shutdown(cancel_futures=True)
        raise UserError(why_ended(process.exitcode for process in started), parameters=("workers",)) from None
    except BaseException:  # nobody wants the rest: a shard is whole or not there
        for process in started:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _readable_main() -> Iterator[None]:
    """Inside, processes that start do not read a script that came from standard input, which is gone."""
    main = sys.modules["__main__"]
    file = getattr(main, "__file__", None)
    if file is None or Path(file).is_file():
        yield
        return
    del main.__file__
    try:
        yield
    finally:
        main.__file__ = file


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Inside, processes that start hear no interrupt from the keyboard, which goes to all: their caller does."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _devices(options: RunOptions, context: SpawnContext) -> SimpleQueue[str] | None:
    """Numbers of the GPUs that worker processes take, one each; None on a CPU."""
    if options.device != "cuda":
        return None
    shown = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = shown.split(",") if shown else [str(number) for number in range(options.workers)]
    queue: SimpleQueue[str] = context.SimpleQueue()
    for name in names[: options.workers]:
        queue.put(name)
    return queue


@in_own_state
def _start(work: bytes, options: RunOptions, share: Share, devices: SimpleQueue[str] | None = None) -> None:
    """Make this process ready. What fails is kept for :func:`_compute`, whose caller hears of it."""
    global _work, _directory, _failed
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices.get()  # read when CUDA is first asked for, which is below
    threading.Thread(target=end_with_caller, daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(threads_of_worker(options.workers, threads_asked()))
    try:
        sample_sets, detectors, kind = pickle.loads(work)
    except UserError as error:
        _failed = error
        return
    except Exception as error:  # of a user's module: an import that fails in another process, say
        _failed = UserError(
            f"a worker process cannot make the detectors again ({type(error).__name__}: {reason(error)}): {AT_THE_TOP}"
        )
        return
    try:
        models = load_models(sample_sets, options)
        _check_alike(models, share.path)
        _work, _directory = kind(sample_sets, detectors, options, models), RunDirectory.joined(share)
    except Exception as error:
        _failed = error


def _groups(plan: Mapping[str, Units], workers: int) -> list[list[tuple[str, range]]]:
    """What one process does in one go: sample sets and indices of units that follow each other, the largest first.

    All that share a model and a seed where there are enough such groups, else parts of these; the parts are as many as
    a few for each process, so that their number does not grow with that of the items.
    """
    groups = by_owner(plan)
    if len(groups) < GROUPS_PER_WORKER * workers:
        size = -(-max(1, sum(map(len, plan.values()))) // (PARTS_PER_WORKER * workers))
        parts = [(name, whole) for group in groups for name, whole in group]
        return [[(name, whole[at : at + size])] for name, whole in parts for at in range(0, len(whole), size)]
    return sorted(groups, key=lambda group: -sum(len(indices) for _, indices in group))


def _check_alike(models: Mapping[str, ScoreModel], out: Path) -> None:
    """A user's file must make in each process what it made in the first: the parts of a run belong together.

    Raises:
        UserError: It makes another model.
    """
    for of_set in Manifest.read(out).settings.sample_sets:
        for name, digest in of_set.model_hashes.items():
            if is_own_file(name) and models[name].fingerprint() != digest:
                raise UserError(
                    f"{name} makes another model in another process: load its weights from a file or fix their seed, "
                    "or take one worker, `workers` 1",
                    parameters=("workers",),
                )


@in_own_state
def _compute(group: Sequence[tuple[str, range]]) -> None:
    if _failed is not None:
        raise _failed
    assert _work is not None
    assert _directory is not None
    for name, indices in group:
        for index in indices:
            _work.compute(name, _work.plan[name][index], _directory)
