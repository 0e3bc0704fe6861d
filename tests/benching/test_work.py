"""How long a piece of work takes by a plan: the answer that ``memdet bench plan --prompts`` gives."""

import csv
import io
import json
from dataclasses import dataclass

import pytest

from memdet.benching.projection.work import Work, answer, duration, work_row, work_table


@dataclass
class Device:
    title: str = "A100"
    memory: float = 80e9


@dataclass
class One:
    detector: str
    seconds: float | None
    memory: float
    evaluations: dict


@dataclass
class Planned:
    projections: list
    device: Device


@pytest.fixture
def plan():
    cheap = One("cheap", 0.01, 4e9, {"F": 2, "JVP": 0, "VJP": 0})
    dear = One("dear", 0.05, 40e9, {"F": 2, "JVP": 2, "VJP": 0})
    return Planned([cheap, dear, One("large", None, 90e9, {"F": 0, "JVP": 0, "VJP": 1})], Device())


def test_work_is_prompts_times_seeds_at_the_share_that_is_reached():
    assert Work(1_000, 4).items == 4_000
    assert Work(1_000, 4).seconds(0.01) == pytest.approx(40)
    assert Work(1_000, 4, 0.25).seconds(0.01) == pytest.approx(160)
    assert Work(1).seconds(None) is None


def test_the_answer_lies_between_all_shared_and_nothing_shared(plan):
    text = answer(plan, Work(1_000, 4))
    # The dearest takes 4,000 x .05 s = 200 s = 3.33 min, both one after the other 240 s = 4 min.
    assert "1,000 prompts x 4 noise seeds with 3 detectors on one A100" in text
    assert "at least 3.33 min where they share all evaluations, at least 4 min where they share none" in text
    assert "40 GB, without 1 detector that would not fit" in text
    assert "at least" not in answer(plan, Work(1_000, 4, 0.5))
    assert "6.67 min" in answer(plan, Work(1_000, 4, 0.5))
    assert "50 % of its peaks" in answer(plan, Work(1_000, 4, 0.5))


def test_a_line_a_detector(plan):
    assert work_table(plan, Work(1_000, 4)).rows == [
        ["cheap", "2 F", "40 s", "4"],
        ["dear", "2 F + 2 JVP", "3.33 min", "40"],
        ["large", "1 VJP", "does not fit", "90"],
    ]
    row = work_row(plan, 1, Work(1_000, 4))
    assert (row["prompts"], row["seeds"], row["efficiency_assumed"], row["seconds"]) == (1_000, 4, 1.0, 200.0)


def test_nothing_that_fits_is_said(plan):
    plan.projections = plan.projections[2:]
    assert answer(plan, Work(2)) == "2 prompts x 1 noise seed with 1 detector on one A100: nothing fits into its 80 GB."


def test_durations_in_the_unit_of_a_person():
    assert [duration(s) for s in (0.5, 119, 120, 7_199, 7_200, 172_799, 172_800)] == [
        "0.5 s", "119 s", "2 min", "120 min", "2 h", "48 h", "2 days",
    ]  # fmt: skip


@pytest.mark.slow
def test_the_command_answers(monkeypatch, capsys):
    from memdet.cli import group

    def said(*arguments):
        command = ["bench", "plan", "--model", "tiny-sd-a", "--device", "a100", "-d", "wen2024,hessian-trace"]
        group.main([*command, *arguments], standalone_mode=False)
        return capsys.readouterr().out

    monkeypatch.setenv("COLUMNS", "80")
    asked = ["--prompts", "1000", "--seeds", "4"]
    text = said(*asked)
    assert "1,000 prompts x 4 noise seeds with 2 detectors on one NVIDIA A100" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    rows = json.loads(said(*asked, "--format", "json"))
    for row in rows:
        assert row["seconds"] == pytest.approx(4_000 / row["items_per_second"])
        assert row["measured"] is False
    table = list(csv.DictReader(io.StringIO(said(*asked, "--format", "csv"))))
    assert [float(row["seconds"]) for row in table] == [row["seconds"] for row in rows]
