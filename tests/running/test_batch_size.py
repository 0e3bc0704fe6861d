"""The batch size of a run: chosen by throughput, within a memory budget, and kept when a run is continued."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from memdet.benching.projection.op_trace import peak_bytes
from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detectors
from memdet.errors import UserError
from memdet.models import load_model
from memdet.running import RunOptions, batch_size, read_manifest, run
from memdet.running import runner as runner_module
from memdet.running.batch_size import Evaluations, Measured, Needs, choose, fix_batch_sizes, measure, needs_of
from memdet.running.batching import probe_of
from memdet.running.memory import is_out_of_memory, peak_memory
from memdet.samplesets import load_sample_set

CPU = torch.device("cpu")
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def mixture():
    return load_model("mixture-2d")


def device_of(monkeypatch, *, bytes_a_row, seconds, memory=float("inf")):
    """Replace what is measured: memory grows with the rows, ``seconds`` is that of an item at a batch size."""
    asked = []

    def peak(work, device):
        asked.append(2 ** len(asked))
        if asked[-1] * bytes_a_row > memory:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return asked[-1] * bytes_a_row

    monkeypatch.setattr(batch_size, "peak_memory", peak)
    monkeypatch.setattr(batch_size, "_seconds", lambda work, device: asked[-1] * seconds(asked[-1]))
    return asked


def test_the_smallest_batch_within_five_percent_of_the_best():
    assert choose([Measured(1, 1.0, 0), Measured(2, 0.6, 0), Measured(4, 0.52, 0), Measured(8, 0.5, 0)]) == 4
    assert choose([Measured(1, 1.0, 0), Measured(2, 0.6, 0), Measured(4, 0.53, 0), Measured(8, 0.5, 0)]) == 8
    assert choose([Measured(1, 0.5, 0), Measured(2, 0.5, 0), Measured(4, 0.9, 0)]) == 1


def test_no_batch_is_tried_that_would_exceed_the_budget(monkeypatch, mixture):
    asked = device_of(monkeypatch, bytes_a_row=100, seconds=lambda size: 1 / size)
    found = measure(mixture, Needs(), budget=1_000)
    assert [row.batch_size for row in found] == asked == [1, 2, 4, 8]
    assert [row.peak_bytes for row in found] == [100, 200, 400, 800]


def test_a_device_that_runs_out_of_memory_ends_the_search(monkeypatch, mixture):
    device_of(monkeypatch, bytes_a_row=100, seconds=lambda size: 1 / size, memory=500)
    assert [row.batch_size for row in measure(mixture, Needs(), budget=10_000)] == [1, 2, 4]


def test_the_search_ends_where_two_doublings_gain_nothing(monkeypatch, mixture):
    asked = device_of(monkeypatch, bytes_a_row=1, seconds=lambda size: max(1 / size, 1 / 4))
    assert choose(measure(mixture, Needs(), budget=10_000)) == 4
    assert asked == [1, 2, 4, 8, 16]


def test_the_search_ends_at_the_items_that_there_are(monkeypatch, mixture):
    asked = device_of(monkeypatch, bytes_a_row=1, seconds=lambda size: 1 / size)
    measure(mixture, Needs(), budget=10_000, limit=10)
    assert asked == [1, 2, 4, 8]


@pytest.mark.parametrize("memory", [50, float("inf")])
def test_one_item_over_the_budget_is_one_line(monkeypatch, mixture, memory):
    device_of(monkeypatch, bytes_a_row=100, seconds=lambda size: 1, memory=memory)
    with pytest.raises(UserError, match="--memory-budget"):
        measure(mixture, Needs(), budget=99)


def test_an_error_that_is_none_of_memory_is_not_hidden(monkeypatch, mixture):
    def broken(work, device):
        raise RuntimeError("a kernel's own bug")

    monkeypatch.setattr(batch_size, "peak_memory", broken)
    with pytest.raises(RuntimeError, match="own bug"):
        measure(mixture, Needs(), budget=99)


@pytest.mark.parametrize("way", ["as here", "without the kernel's peak"])
def test_peak_of_known_work(monkeypatch, way):
    if way != "as here":
        monkeypatch.setattr("memdet.running.memory._reset_peak", lambda: False)

    def work():
        torch.ones(10 * MEGABYTE)  # freed before the others come
        first = torch.ones(10 * MEGABYTE)
        return first + torch.ones(10 * MEGABYTE)  # three of 40 MB alive

    for _ in range(2):  # blocks that the allocator keeps are counted again, and the freed one is not always used again
        assert 0.95 * 120 * MEGABYTE < peak_memory(work, CPU) < 1.05 * 160 * MEGABYTE


def test_errors_of_memory_are_known():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))


@pytest.mark.parametrize(
    ("labels", "needs"),
    [
        (["random", "prompt-length"], None),
        (["wen2024", "random"], Needs()),
        (["hessian-trace"], Needs(vjp=True)),
        (["hessian-trace@backend=jvp"], Needs(jvp=True)),
        (["jeon2025", "trace-gap"], Needs(jvp=True, vjp=True)),
        (["jeon2025@backend=fd"], Needs()),
        (["bright-ending"], Needs(attention=12)),
        (["zhang2026"], Needs(bottleneck=True)),
        (["nearest-neighbour"], Needs(decode=True)),
    ],
)
def test_needs_of_detectors(labels, needs):
    assert needs_of(make_detectors(labels, detector_classes()), 50) == needs


class OfUnknownCost(Detector):
    info = DetectorInfo(name="of-unknown-cost", title="", access="gradient", cost="what it takes")

    def score(self, probe):
        raise NotImplementedError


def test_a_cost_that_cannot_be_read_is_taken_for_the_dearest():
    assert needs_of([OfUnknownCost()], 50) == Needs(jvp=True, vjp=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    "labels",
    [
        ["wen2024@steps=3", "curvature-gap"],
        ["trace-gap"],
        ["jeon2025"],
        ["curvature-gap@backend=jvp"],
        ["eigenvalue-gap", "jeon2025", "hessian-trace@backend=jvp"],
        ["ren2024-entropy", "bright-ending"],
    ],
)
def test_the_measured_work_takes_the_memory_of_the_detectors(labels):
    """Trajectories and Krylov bases come on top; they are small beside what the network holds."""
    sample_set, model = load_sample_set("tiny-sd-a-verbatim"), load_model("tiny-sd-a")
    protocol = sample_set.protocol.model_copy(update={"steps": 10, "noise": "per-item"})
    sample_set = dataclasses.replace(sample_set, protocol=protocol)
    detectors = make_detectors(labels, detector_classes())
    probe = probe_of(sample_set.items[sample_set.items["split"] == "test"].head(8), sample_set, model)

    def score():
        for detector in detectors:
            with probe.charge():
                detector.score(probe)

    needs = needs_of(detectors, 10)
    assert needs is not None
    assert peak_bytes(score) == pytest.approx(peak_bytes(Evaluations(model, needs, 8).dearest), rel=0.15)


def test_auto_is_the_rule_on_the_cpu(monkeypatch, mixture):
    monkeypatch.setattr(batch_size, "measure", lambda *_, **__: pytest.fail("measured"))
    options = RunOptions()
    assert fix_batch_sizes([], [], {}, options) == (options, {})
    assert fix_batch_sizes([], [], {}, RunOptions(batch_size=3, device="meta"))[0].batch_size == 3


@pytest.mark.parametrize("options", [RunOptions(device="meta"), RunOptions(batch_size="measure", memory_budget=7e9)])
def test_elsewhere_and_where_asked_for_it_is_measured(monkeypatch, mixture, options):
    budgets = []

    def measured(model, needs, budget, limit):
        budgets.append(budget)
        return [Measured(1, 1.0, 5), Measured(2, 0.1, 10)]

    monkeypatch.setattr(batch_size, "measure", measured)
    sample_set, detectors = load_sample_set("mixture-2d"), make_detectors(["wen2024"], detector_classes())
    fixed, record = fix_batch_sizes([sample_set], detectors, {"mixture-2d": mixture}, options)
    assert fixed.batch_size == {"mixture-2d": 2}
    assert record["mixture-2d"]["mixture-2d"][1] == {"batch_size": 2, "seconds": 0.1, "peak_bytes": 10}
    assert budgets == [7_000_000_000] if options.memory_budget else budgets[0] > 0


def measured_run(out):
    detectors = make_detectors(["wen2024", "random"], detector_classes())
    options = RunOptions(seeds=1, batch_size="measure")
    return run([load_sample_set("mixture-2d")], detectors, out, options, progress=False)


def test_a_continued_run_takes_the_size_that_it_began_with(tmp_path, monkeypatch):
    real, calls = runner_module.score_items, []

    def stop_at_second_batch(model, items, detector, probe):
        calls.append(items.ids[0])
        if len(set(calls)) == 2:
            raise KeyboardInterrupt
        return real(model, items, detector, probe)

    record = [Measured(128, 1.0, 5)]
    monkeypatch.setattr(batch_size, "measure", lambda *_, **__: record)
    monkeypatch.setattr(runner_module, "score_items", stop_at_second_batch)
    with pytest.raises(KeyboardInterrupt):
        measured_run(tmp_path / "run")
    monkeypatch.setattr(batch_size, "measure", lambda *_, **__: pytest.fail("measured again"))
    monkeypatch.setattr(runner_module, "score_items", real)
    measured_run(tmp_path / "run")
    manifest = read_manifest(tmp_path / "run")
    assert manifest["finished"]
    assert manifest["settings"]["sample_sets"][0]["batch_size"] == 128
    assert manifest["batch_sizes"]["mixture-2d"]["mixture-2d"][0]["batch_size"] == 128
    explicit = tmp_path / "explicit"
    detectors = make_detectors(["wen2024", "random"], detector_classes())
    run([load_sample_set("mixture-2d")], detectors, explicit, RunOptions(seeds=1, batch_size=128), progress=False)
    assert (explicit / "scores.parquet").read_bytes() == (tmp_path / "run" / "scores.parquet").read_bytes()


class Greedy(Detector):
    info = DetectorInfo(name="greedy", title="", access="score", cost="1 F")

    def score(self, probe):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_out_of_memory_ends_the_run_with_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"greedy with 50 items at once: .*--batch-size.*--memory-budget"):
        run([load_sample_set("mixture-2d")], [Greedy()], tmp_path, RunOptions(seeds=1, batch_size=50), progress=False)
