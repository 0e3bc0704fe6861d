"""What ``memdet bench`` measures with."""

import math
import subprocess
from collections import Counter

import numpy as np
import pytest
import torch

from memdet.benching import timing as clocks
from memdet.benching.interleaved import Spread, interleave, ratio
from memdet.benching.network_calls import Call, recorded_calls, replay
from memdet.benching.subprocess_memory import peak_of_process
from memdet.benching.throughput import Bench, BenchOptions, Throughput
from memdet.detectors import detector_classes, make_detectors
from memdet.models import load_model
from memdet.probing import Context, Probe, SeedMemory
from memdet.probing.from_sample_set import items_of
from memdet.samplesets import load_sample_set
from tests.helpers.problems import CountingMixture, make_mixture


def detector_of(label):
    return make_detectors([label], detector_classes())[0]


@pytest.fixture(scope="module")
def network():
    return load_model("tiny-sd-a")


CALLS = {
    # Of a batch of three whose shared evaluations are known.
    ("wen2024", "shared"): {("forward", 3): 1},
    ("jeon2025@backend=fd-one-sided", "per-item"): {("forward", 6): 2},
    ("jeon2025", "per-item"): {("forward", 6): 1, ("jvp", 6): 1},
    ("jeon2025@backend=fd", "per-item"): {("forward", 6): 3},
    ("curvature-gap", "shared"): {("forward", 3): 2},
    ("hessian-trace", "shared"): {("graph", 3): 1, ("vjp", 3): 4},
    ("jeon2024-eigenvalues@krylov=3", "shared"): {("graph", 3): 1, ("vjp", 3): 3},
    ("attention-focus", "shared"): {("forward", 3): 1},
    ("condition-jacobian", "shared"): {("jvp", 3): 1},
}


@pytest.mark.slow
@pytest.mark.parametrize(("label", "noise"), CALLS)
def test_the_calls_of_a_detector_are_recorded_and_made_again(label, noise, network):
    sample_set = load_sample_set("tiny-sd-a-verbatim")
    items, memory = sample_set.items.head(3), SeedMemory()
    detector = detector_of(label)
    protocol = sample_set.protocol.model_copy(update={"noise": noise})
    for _ in range(2):
        with recorded_calls(network) as calls:
            detector.score(Probe(network, items_of(items, sample_set, network), Context(protocol), memory=memory))
    assert Counter((call.kind, call.rows) for call in calls) == CALLS[label, noise]
    with recorded_calls(network) as again:
        replay(calls, network, network.embed(list(items["condition"])))()
    assert again == calls
    assert "predict" not in vars(network)


def test_a_replay_has_rows_enough_for_calls_beyond_the_batch():
    model = make_mixture("fewer components than dimensions", CountingMixture)
    replay([Call("forward", 7)], model, model.embed(["some", "point"]))()
    assert model.rows == 7


def test_spread_of_rounds_is_that_of_order_statistics():
    """The binomial tail of seven rounds below their median is 2^-7 at the extremes and .0625 next to them."""
    values = [3.0, 1.0, 7.0, 5.0, 2.0, 6.0, 4.0]
    assert Spread.of(values) == Spread(median=4.0, q1=2.5, q3=5.5, low=1.0, high=7.0)
    fifteen = Spread.of(list(range(1, 16)))
    assert (fifteen.low, fifteen.high) == (4, 12)  # P(3 or fewer of 15) = .0176, of 4 or fewer .0592
    few = Spread.of(values[:5])
    assert math.isnan(few.low)
    assert math.isnan(few.high)


@pytest.mark.slow
def test_the_interval_of_the_median_covers_it():
    draws = np.random.default_rng(0).lognormal(size=(2_000, 15))
    intervals = [Spread.of(row) for row in draws]
    covered = np.mean([one.low <= 1 <= one.high for one in intervals])
    assert 0.95 <= covered <= 0.98  # exactly .9648


def test_rounds_alternate():
    order = []
    arms = {name: lambda name=name: order.append(name) or float(len(order)) for name in "ab"}
    found = interleave(arms, rounds=4)
    assert "".join(order) == "abbaabba"
    assert found == {"a": [1, 4, 5, 8], "b": [2, 3, 6, 7]}
    assert ratio(found["b"], found["a"]).median == pytest.approx(np.median([2, 3 / 4, 6 / 5, 7 / 8]))


def test_three_rounds_are_made_however_long_they_take():
    assert len(interleave({"a": lambda: 1.0}, rounds=10, most_seconds=0)["a"]) == 3


def test_warm_up_ends_when_two_calls_agree():
    times = iter([9.0, 4.0, 2.0, 2.1, 7.0])
    assert clocks.warm_up(lambda: next(times)) == 9.0
    assert next(times) == 7.0


def test_cuda_is_timed_by_events_around_the_call(monkeypatch):
    told = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            told.append("record")

        def synchronize(self):
            told.append("wait")

        def elapsed_time(self, end):
            assert end is not self
            return 250.0

    class Inside:
        def __init__(self, device): ...
        def __enter__(self): ...
        def __exit__(self, *error): ...

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", Inside)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: told.append("synchronise"))
    assert clocks.seconds_of(lambda: told.append("call"), torch.device("cuda")) == 0.25
    assert told == ["synchronise", "record", "call", "record", "wait"]


def test_state_of_the_processor_is_what_the_system_tells(monkeypatch, tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\ncpu MHz\t\t: 2599.61\nprocessor\t: 1\ncpu MHz\t\t: 800.0\n")
    monkeypatch.setattr(clocks, "CPUINFO", cpuinfo)
    monkeypatch.setattr(clocks.os, "getloadavg", lambda: (1.25, 0.5, 0.25), raising=False)
    assert clocks.device_state(torch.device("cpu")) == {"clocks.cpu": "2600 MHz", "load": "1.25"}
    monkeypatch.setattr(clocks, "CPUINFO", tmp_path / "nowhere")
    monkeypatch.delattr(clocks.os, "getloadavg")
    assert clocks.device_state(torch.device("cpu")) == {}
    monkeypatch.setattr(clocks.platform, "mac_ver", lambda: ("15.1", (), "arm64"))
    assert clocks.device_state(torch.device("mps")) == {"macos": "15.1"}


def test_state_of_a_gpu_is_what_its_driver_tells(monkeypatch):
    class Properties:
        uuid = "1f0e"

    asked = []

    def run(command, **options):
        asked.append(command)
        return subprocess.CompletedProcess(command, 0, "570.1, 1980 MHz, 1980 MHz, 2619 MHz, 312 W, 700 W, 41\n")

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    monkeypatch.setattr(subprocess, "run", run)
    state = clocks.device_state(torch.device("cuda"))
    assert asked[0][:2] == ["nvidia-smi", "--id=GPU-1f0e"]
    assert (state["driver_version"], state["clocks.sm"], state["temperature.gpu"]) == ("570.1", "1980 MHz", "41")


def test_figures_of_a_measurement():
    one = Throughput("d", "m", "cpu", "float32", batch_size=8, noise="shared")
    one.calls = [Call("graph", 8), Call("vjp", 8), Call("vjp", 8), Call("forward", 1)]
    one.seconds, one.bare, one.forward = [2.0] * 7, [1.0, 1.5, 1.8, 1.8, 1.8, 1.9, 2.0], [0.5] * 7
    assert one.items_per_second.median == 4
    assert one.evaluations_per_second == 25 / 2
    assert (one.efficiency.median, one.efficiency.low, one.efficiency.high) == (0.9, 0.5, 1.0)
    assert one.forward_equivalents.median == 4
    one.calls = []
    assert one.efficiency is None


def fill(size):
    torch.zeros(size).fill_(1)


@pytest.mark.slow
def test_peak_memory_is_that_of_the_call_alone():
    size = 100_000_000
    empty, full = peak_of_process("cpu", fill, 1), peak_of_process("cpu", fill, size)
    assert 0.95 * 4 * size < full - empty < 1.1 * 4 * size


def test_a_batch_larger_than_the_set_repeats_its_items():
    bench = Bench(load_sample_set("mixture-2d"), BenchOptions(memory=False))
    tested = int((bench.sample_set.items["split"] == "test").sum())
    assert len(bench.batch(tested + 5).items) == tested + 5


def test_one_measurement_of_a_closed_form():
    bench = Bench(load_sample_set("mixture-2d"), BenchOptions(noise="shared", rounds=3, memory=False))
    found = bench.measure(detector_of("wen2024"), 16)
    assert found.status == "ok"
    assert found.calls == [Call("forward", 16)]
    assert len(found.seconds) == len(found.bare) == len(found.forward) == 3
    refused = bench.measure(detector_of("bright-ending"), 16)
    assert (refused.status, refused.seconds, refused.message != "") == ("not-applicable", [], True)
