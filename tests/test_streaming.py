"""Runs of many prompts: the measurement itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks.streaming.__main__ import PHASES, summary
from benchmarks.streaming.child import one_run
from benchmarks.streaming.problem import HashedPrompts, write_samples
from benchmarks.streaming.report import growth, streaming_table
from benchmarks.streaming.task import Task
from memdet.results import scores as score_tables
from memdet.results import store
from memdet.results.store import read_scores

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "results" / "benchmarks"


@pytest.mark.slow
def test_prompts_are_distinct_and_of_many_lengths(tmp_path):
    write_samples(tmp_path / "samples.jsonl", 500)
    rows = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert len({row["prompt"] for row in rows}) == len({row["id"] for row in rows}) == 500
    assert sum(row["memorized"] for row in rows) == 250
    words = [len(row["prompt"].split()) for row in rows]
    assert min(words) < 8
    assert max(words) > 40


def test_a_prompt_moves_its_own_row_of_the_network_alone():
    model, x = HashedPrompts(), torch.randn(3, 4, 64, 64)
    together = model.predict(x, 981, model.embed(["a", "b", "a"]))
    for index, prompt in enumerate("aba"):
        alone = model.predict(x[index : index + 1], 981, model.embed([prompt]))[0]
        assert torch.allclose(together[index], alone, atol=1e-5)
    other = model.predict(x[1:2], 981, model.embed(["a"]))[0]
    assert not torch.allclose(together[1], other, atol=1e-2)


@pytest.mark.slow
def test_a_run_in_small_pieces_gives_what_it_gives_in_one(tmp_path, monkeypatch):
    write_samples(tmp_path / "samples.jsonl", 120)
    phases, whole = one_run(Task(str(tmp_path / "samples.jsonl"), batch_size=120), tmp_path / "whole")
    assert set(phases.found) == {*PHASES, "run"} - {"total"}
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 37)
    monkeypatch.setattr(score_tables, "ROWS_HELD", 0)
    _, pieces = one_run(Task(str(tmp_path / "samples.jsonl"), batch_size=7), tmp_path / "pieces")
    first, second = (read_scores(tmp_path / name).to_pandas() for name in ("whole", "pieces"))
    keys = ["detector", "item_id"]
    first, second = (table.sort_values(keys, ignore_index=True) for table in (first, second))
    assert first.drop(columns="score").equals(second.drop(columns="score"))
    assert first["score"].to_numpy() == pytest.approx(second["score"].to_numpy(), rel=2e-3)  # finite differences
    controls = {row["detector"]: row["auroc"] for row in whole if row["access"] in {"none", "text"}}
    assert len(controls) >= 5
    assert {row["detector"]: row["auroc"] for row in pieces if row["detector"] in controls} == controls


def test_a_row_of_the_summary_by_hand():
    def run(items, peak, seconds, warm=True):
        phases = {phase: {"seconds": seconds, "cpu_seconds": seconds / 2} for phase in PHASES}
        return {"items": items, "warm": warm, "peak_bytes": peak, "seconds_per_item": seconds, "phases": phases}

    first = [run(10, 2e6, 9.0, warm=False), run(100, 3e6, 5.0, warm=False)]
    few, many = summary([*first, run(10, 1e6, 3.0), run(10, 7e6, 2.0), run(10, 1e6, 2.5)])
    assert (few["items"], few["timed_runs"], few["peak_mb"]) == (10, 3, 2)
    assert few["detectors_ms_per_item"] == 2500
    assert few["ms_per_item"] == dict.fromkeys(PHASES, 250)
    assert many["cpu_ms_per_item"] == dict.fromkeys(PHASES, 25)


def test_growth_by_hand():
    rows = [
        {
            "items": items,
            "peak_mb": peak,
            "detectors_ms_per_item": seconds,
            "ms_per_item": {"batches": batches, "total": total},
        }
        for items, peak, seconds, batches, total in ((10, 100, 4.0, 2.0, 5.0), (1_000, 105, 3.0, 2.1, 4.0))
    ]
    expected = {"peak": 0.05, "detectors": -0.25, "batches": 0.05, "total": -0.2}
    assert growth(rows, 10, 1_000) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["streaming-cpu.json", "streaming-tiny-sd-a-shared-cpu.json"])
def test_documentation_shows_the_committed_records(name):
    text = (ROOT / "docs" / "throughput.md").read_text()
    table = text.split(f"benchmarks.streaming.report results/benchmarks/{name} -->\n")[1]
    assert table.split("\n<!-- end of table -->")[0] == streaming_table(RECORDS / name)


def test_committed_records_hold_what_is_promised():
    stub, model = (
        json.loads((RECORDS / name).read_text())["summary"]
        for name in ("streaming-cpu.json", "streaming-tiny-sd-a-shared-cpu.json")
    )
    assert abs(growth(stub, 1_000, 100_000)["peak"]) <= 0.10
    for found in (growth(stub, 1_000, 100_000), growth(model, 100, 10_000)):
        assert abs(found["detectors"]) <= 0.05
        assert max(found["batches"], found["total"]) <= 0.05
