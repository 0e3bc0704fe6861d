"""What an actor of Ray does: it holds the models and computes one unit after the other."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
import torch

from memdet.errors import UserError
from memdet.results.shards import Notes
from memdet.running.description import threads_of_worker
from memdet.running.memory import keep_freed_memory
from memdet.running.options import RunOptions
from memdet.running.work_plan import Unit
from memdet.torch_state import in_own_state

Outcome = list[tuple[pa.Table, Notes]]
"""Rows and notes of one unit, a list of one."""


class Scorer:
    """An actor: the models of a run, loaded once.

    Args:
        work: Sample sets, detectors and the class that computes units, pickled.
        options: Of the run.
        fingerprints: Of the models as the caller has them, by name; here they must be the same.
        most_threads: That the caller's user gives a process; Ray says another number to each actor.

    Raises:
        UserError: Detectors cannot be made, or models are others here.
    """

    def __init__(
        self, work: bytes, options: RunOptions, fingerprints: Mapping[str, str], most_threads: int | None
    ) -> None:
        keep_freed_memory()
        torch.set_num_threads(threads_of_worker(options.workers, most_threads))
        self._failed: Exception | None = None
        try:
            self._make(work, options, fingerprints)
        except Exception as error:  # told by ready(): what a constructor raises, Ray tells as an actor that died
            self._failed = error if isinstance(error, UserError) else UserError(f"{type(error).__name__}: {error}")

    @in_own_state
    def _make(self, work: bytes, options: RunOptions, fingerprints: Mapping[str, str]) -> None:
        sample_sets, detectors, kind = pickle.loads(work)
        device = options.device.partition(":")[0]  # of several GPUs Ray shows an actor its own alone
        self._work = kind(sample_sets, detectors, replace(options, device=device))
        for name, own in self._work.fingerprints().items():
            if own != fingerprints[name]:
                raise UserError(f"model {name} is another one on {_host()}: put the same files and memdet there")

    def ready(self) -> None:
        """Say that the models are loaded.

        Raises:
            UserError: They are not: why.
        """
        if self._failed is not None:
            raise self._failed

    @in_own_state
    def compute(self, sample_set: str, unit: Unit) -> Outcome:
        """Rows and notes of a unit.

        Raises:
            OutOfMemoryError: Not even one item fits.
        """
        kept = _Kept()
        self._work.compute(sample_set, unit, kept)
        return kept.shards


class _Kept:
    """Takes shards as a run directory does, for the caller to write."""

    def __init__(self) -> None:
        self.shards: Outcome = []

    def has(self, unit: str, expected: Callable[[], Any]) -> bool:
        return False

    def write_shard(self, unit: str, rows: pa.Table, notes: Notes) -> None:
        self.shards.append((rows, notes))


def _host() -> str:
    import socket

    return socket.gethostname()
