"""``memdet compare`` as a shell sees it."""

import json

import numpy as np
import pytest

from tests.helpers.runs import write_run

LABELS = np.repeat([1, 0], 10)
BETTER = LABELS + np.linspace(0, 0.9, 20)


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", {"better": BETTER, "worse": BETTER % 0.4}, LABELS)


def test_one_run_and_the_same_twice_are_one(cli, run):
    code, once, _ = cli("compare", run, "--format", "json")
    assert code == 0
    assert cli("compare", run, f"{run}/../run", "--format", "json")[1] == once
    (row,) = json.loads(once)
    assert (row["first"], row["second"], row["first_auroc"]) == ("better", "worse", 1.0)


def test_two_runs_into_a_file(cli, run, tmp_path):
    other = write_run(tmp_path / "other", {"better": BETTER}, LABELS)
    code, out, _ = cli("compare", run, other, "--format", "markdown", "--out", tmp_path / "new" / "table.md")
    assert (code, out) == (0, "")
    text = (tmp_path / "new" / "table.md").read_text()
    assert "| better | 1.000 | 1.000 | +.000 [.000, .000] | 1.000 | 1.000 |" in text


def test_my_detector_against_the_field(cli, refused, tmp_path):
    """Neither compare nor report joins two runs: both say why, and how to get what was wanted."""
    mine = write_run(tmp_path / "all" / "mine", {"mine": BETTER, "chance": BETTER % 0.4}, LABELS)
    field = write_run(tmp_path / "all" / "field", {"theirs": BETTER % 0.7, "chance": BETTER % 0.4}, LABELS)
    _, out, _ = cli("compare", mine, field)
    assert "mine: not compared: not in" in out
    assert "memdet run SET --detector A --detector B" in " ".join(out.split())
    assert "--against A" in out
    alone = write_run(tmp_path / "alone", {"theirs": BETTER}, LABELS)
    refused("compare", write_run(tmp_path / "my", {"mine": BETTER}, LABELS), alone, words=["not in", "--against A"])
    for form in ("table", "json"):
        code, out, err = cli("report", mine, field, "--format", form)
        assert code == 0
        assert "made v1: a table for each run" in err
        assert "memdet leaderboard DIR" in err
    assert [row["detector"] for row in json.loads(out)] == ["mine", "chance", "theirs", "chance"]
    assert cli("report", mine)[2] == ""
    assert cli("report", tmp_path / "all", "--leaderboard")[0] == 0  # what the advice says gives one table
    rows = json.loads((tmp_path / "all" / "leaderboard.json").read_text())["rows"]
    assert {row["detector"] for row in rows} == {"mine", "theirs", "chance"}
    assert all(row["tie_group"] for row in rows)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere", "run.json"]),
        (["run", "--against", "best"], ["no detector best", "better, worse"]),
        (["run", "run", "other"], ["one run or two, not 3"]),
        (["run", "other", "--against", "better"], ["--against", "one RUN_DIR"]),
        (["run", "other"], ["nothing in", "version 2"]),
    ],
)
def test_mistakes_are_named(arguments, words, refused, run, tmp_path):
    write_run(tmp_path / "other", {"better": BETTER}, LABELS, version=2)
    names = [tmp_path / word if word in {"run", "other", "nowhere"} else word for word in arguments]
    refused("compare", *names, "--out", tmp_path / "table.txt", words=words, untouched=tmp_path / "table.txt")
