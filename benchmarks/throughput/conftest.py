"""What the benchmarks share: the model, its items, and rounds in which the bare network stands beside the detector."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from memdet.detectors import Detector, detector_classes, make_detectors
from memdet.running.clocks import seconds_of, synchronise
from memdet.running.rounds import Spread, ratio
from memdet.running.throughput import Batch, Bench, BenchOptions
from memdet.samplesets import load_sample_set

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 64
ROUNDS = 15


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench(load_sample_set("tiny-sd-a-verbatim"), BenchOptions(device=DEVICE))


@pytest.fixture(scope="session")
def batch(bench: Bench) -> Batch:
    return bench.batch(BATCH)


def detector_of(label: str) -> Detector:
    (detector,) = make_detectors([label], detector_classes())
    return detector


@pytest.fixture
def beside(benchmark, bench: Bench) -> Callable[..., dict[str, Spread]]:
    """Time a call, with others before each round; gives its time over that of each, round by round."""

    def measure(call: Callable[[], Any], *, rounds: int = ROUNDS, **others: Callable[[], Any]) -> dict[str, Spread]:
        device = bench.model.device
        taken: dict[str, list[float]] = {name: [] for name in others}

        def setup() -> None:
            for name, other in others.items():
                taken[name].append(seconds_of(other, device))

        def timed() -> None:
            call()
            synchronise(device)

        benchmark.pedantic(timed, setup=setup, rounds=rounds, warmup_rounds=1)
        seconds = benchmark.stats.stats.data
        ratios = {name: ratio(seconds, values[-len(seconds) :]) for name, values in taken.items()}
        benchmark.extra_info |= {
            "device": "cpu" if device.type == "cpu" else torch.cuda.get_device_name(device),
            "threads": torch.get_num_threads(),
            "dtype": str(bench.model.dtype).removeprefix("torch."),
            "over": {name: [found.median, found.low, found.high] for name, found in ratios.items()},
        }
        return ratios

    return measure
