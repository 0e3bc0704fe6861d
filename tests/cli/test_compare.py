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
