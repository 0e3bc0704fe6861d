"""``memdet report --by-draws`` as a shell sees it."""

import json

import numpy as np

from tests.helpers.runs import write_run

LABELS = np.repeat([1, 0], 10)


def test_a_number_of_draws_a_column(cli, refused, tmp_path):
    scores = np.random.default_rng(0).normal(size=(20, 3))
    run = write_run(tmp_path / "run", {"a": scores}, LABELS, seeds=range(3))
    code, out, _ = cli("report", run, "--by-draws", "--format", "json")
    assert (code, [row["n"] for row in json.loads(out)]) == (0, [1, 2, 3])
    assert "n = 1" in cli("report", run, "--by-draws")[1]
    refused("report", run, "--by-draws", "--by-time", words=["table of its own"])
    refused("report", run, "--by-draws", "--format", "latex", words=["latex", "table, json, csv, markdown"])
    refused("report", run, "--by-draws", "--format", "html", "--out", tmp_path / "p.html", words=["tables"])
    refused("report", tmp_path, "--by-draws", "--leaderboard", words=["one directory"])
    once = write_run(tmp_path / "once", {"a": scores[:, 0]}, LABELS)
    refused("report", once, "--by-draws", words=["several noise seeds", "--seeds"])
