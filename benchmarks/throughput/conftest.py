"""What the benchmarks share: the model, its items, and rounds in which the bare network stands beside the detector."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from benchmarks.conftest import BATCH, DEVICE
from memdet.benching.interleaved import Spread, interleave, ratio
from memdet.benching.throughput import Batch, Bench, BenchOptions
from memdet.benching.timing import seconds_of
from memdet.detectors import Detector, detector_classes, make_detectors
from memdet.running.memory import keep_freed_memory
from memdet.samplesets import load_sample_set

ROUNDS = 15


@pytest.fixture(scope="session")
def bench() -> Bench:
    keep_freed_memory()
    return Bench(load_sample_set("tiny-sd-a-verbatim"), BenchOptions(device=DEVICE))


@pytest.fixture(scope="session")
def batch(bench: Bench) -> Batch:
    return bench.batch(BATCH)


def detector_of(label: str) -> Detector:
    (detector,) = make_detectors([label], detector_classes())
    return detector


@pytest.fixture
def beside(benchmark, bench: Bench) -> Callable[..., dict[str, Spread]]:
    """Time a call and others in turn; gives its time over that of each, round by round."""

    def measure(call: Callable[[], Any], *, rounds: int = ROUNDS, **others: Callable[[], Any]) -> dict[str, Spread]:
        device = bench.model.device
        arms = {name: partial(seconds_of, arm, device) for name, arm in {"call": call, **others}.items()}
        for arm in arms.values():
            arm()
        taken = interleave(arms, rounds)
        benchmark.pedantic(call, rounds=1)
        ratios = {name: ratio(taken["call"], taken[name]) for name in others}
        benchmark.extra_info |= {
            "device": "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
            "threads": torch.get_num_threads(),
            "dtype": str(bench.model.dtype).removeprefix("torch."),
            "seconds": taken,
            "over": {name: [found.median, found.low, found.high] for name, found in ratios.items()},
        }
        return ratios

    return measure
