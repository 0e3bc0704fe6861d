"""``memdet report --by-dose`` as a shell sees it."""

import json

import numpy as np

from tests.helpers.runs import write_run

STRATA = np.repeat(["single", "copies-8", "verbatim"], 20)
LABELS = np.repeat([0, 1, 1], 20)


def write(path, strata, **options):
    scores = np.random.default_rng(0).normal(size=60) + 9 * (STRATA == "verbatim")
    return write_run(path, {"a": scores}, LABELS, strata=strata, extraction=1.0 * (STRATA == "verbatim"), **options)


def test_a_table_a_detector(cli, refused, tmp_path):
    run = write(tmp_path / "runs" / "doses", STRATA)
    other = write(tmp_path / "runs" / "other", ["some"] * 60, sample_set="other")
    code, out, err = cli("report", tmp_path / "runs", "--by-dose", "--format", "json")
    assert (code, [(row["sample_set"], row["copies"]) for row in json.loads(out)]) == (0, [("made", 8), ("made", None)])
    assert err.splitlines() == [
        "memdet: other: left out: no doses of memorized items (at least two strata named copies-N or verbatim)."
    ]
    code, out, err = cli("report", run, "--by-dose")
    assert (code, err) == (0, "")
    assert "rate at AUROC .75" in out
    assert "copies-8" in cli("report", run, "--by-dose", "--format", "markdown")[1]
    refused("report", run, "--by-dose", "--by-time", words=["table of its own", "--by-time"])
    refused("report", run, "--by-dose", "--by-draws", words=["table of its own", "--by-draws"])
    refused("report", run, "--by-dose", "--format", "latex", words=["latex", "table, json, csv, markdown"])
    refused("report", run, "--by-dose", "--format", "html", "--out", tmp_path / "p.html", words=["--by-dose", "tables"])
    refused("report", tmp_path, "--by-dose", "--leaderboard", words=["one directory"])
    refused("report", other, "--by-dose", words=["no sample set of doses", "copies-N"])
