"""Paired tests between runs and detectors, on made scores."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from memdet.errors import UserError
from memdet.metrics import METRICS_VERSION, auroc, delong, gain, holm, paired_tests
from memdet.tables.comparison import FIELDS, compare_detectors, compare_runs
from memdet.tables.comparison_text import FORMATS
from tests.helpers.runs import cut_run, write_run

LABELS = np.repeat([1, 0], 20)
CLUSTERS = [f"c{i // 2}" for i in range(40)]
RNG = np.random.default_rng(0)
GOOD = LABELS[:, None] * 1.5 + RNG.normal(size=(40, 2))
WORSE = GOOD + 1.5 * RNG.normal(size=(40, 2))
NOISE = RNG.normal(size=(40, 2))
SCORES = {"good": GOOD, "worse": WORSE, "noise": NOISE}


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "first", SCORES, LABELS, seeds=(0, 1), clusters=CLUSTERS)


def test_all_pairs_of_a_run_are_delongs_of_mean_scores(run):
    rows = compare_detectors(run)
    assert [(row["first"], row["second"]) for row in rows] == [("good", "worse"), ("good", "noise"), ("worse", "noise")]
    adjusted = holm([row["p"] for row in rows])
    for row, p in zip(rows, adjusted, strict=True):
        by_seed = SCORES[row["first"]], SCORES[row["second"]]
        a, b = (scores.mean(axis=1) for scores in by_seed)
        assert row["difference"] == delong(a, b, LABELS, clusters=CLUSTERS)[0]
        (tested,) = paired_tests([a, b], LABELS, CLUSTERS, by_seed=by_seed).p
        assert row["p"] == pytest.approx(tested)
        expected = gain(a, b, LABELS, CLUSTERS, by_seed=by_seed)
        assert (row["difference_low"], row["difference_high"]) == (expected.low, expected.high)
        assert (row["first_auroc"], row["second_auroc"]) == (auroc(a, LABELS), auroc(b, LABELS))
        assert row["p_adjusted"] == p
        assert (row["n_positive"], row["n_negative"], row["n_clusters"], row["n_effective"]) == (20, 20, 20, 10)
        assert (row["seeds"], row["status"], row["metrics_version"]) == (2, "ok", METRICS_VERSION)
        assert tuple(row) == FIELDS


def test_one_detector_against_the_others(run):
    rows = compare_detectors(run, against="worse")
    assert [(row["first"], row["second"]) for row in rows] == [("good", "worse"), ("noise", "worse")]
    every = {(row["first"], row["second"]): row["p"] for row in compare_detectors(run)}
    assert rows[0]["p"] == every["good", "worse"]
    assert rows[1]["p"] == pytest.approx(every["worse", "noise"])
    assert rows[1]["difference"] < 0


def test_detectors_without_scores_are_told(tmp_path):
    run = write_run(tmp_path / "run", SCORES, LABELS, seeds=(0, 1), statuses={"noise": "error"})
    tested, untold = sorted(compare_detectors(run), key=lambda row: row["status"], reverse=True)
    assert (tested["first"], tested["second"]) == ("good", "worse")
    assert (untold["first"], untold["status"], untold["message"]) == ("noise", "not-compared", "has status error")
    assert untold["p"] is None
    against = compare_detectors(run, against="noise")
    assert {row["message"] for row in against} == {"has status error", "noise has no scores here"}


def test_a_stratum_at_a_time(tmp_path, run):
    def strata(frame):
        weak = frame["item_id"].isin([f"item-{i:03d}" for i in range(8)])
        return frame.assign(stratum=np.where(weak, "weak", "strong"))

    rows = compare_detectors(cut_run(tmp_path / "strata", run, change=strata), against="good", by_stratum=True)
    assert [(row["stratum"], row["n_positive"]) for row in rows] == [("strong", 12)] * 2 + [("weak", 8)] * 2
    kept = np.r_[0:8, 20:40]
    weak = {row["first"]: row["difference"] for row in rows if row["stratum"] == "weak"}
    means = {name: scores.mean(axis=1)[kept] for name, scores in SCORES.items()}
    assert weak["worse"] == pytest.approx(auroc(means["worse"], LABELS[kept]) - auroc(means["good"], LABELS[kept]))


def test_two_runs_on_what_both_have(tmp_path, run):
    other = {"good": WORSE, "noise": NOISE, "new": GOOD}
    second = write_run(tmp_path / "second", other, LABELS, seeds=(1, 2), clusters=CLUSTERS)
    second = cut_run(tmp_path / "cut", second, items=[f"item-{i:03d}" for i in range(36)])
    rows = {row["first"]: row for row in compare_runs(run, second)}
    # Seed 1 is the second column of the first run and the first of the second.
    a, b, labels, clusters = GOOD[:36, 1], WORSE[:36, 0], LABELS[:36], CLUSTERS[:36]
    assert (rows["good"]["difference"], rows["good"]["p"]) == delong(a, b, labels, clusters=clusters)
    assert (rows["good"]["n_negative"], rows["good"]["seeds"]) == (16, 1)
    for told in (f"1 noise seed only in {run} (0)", f"1 noise seed only in {second} (2)", f"4 items only in {run}"):
        assert told in rows["good"]["message"]
    tested = [row for row in rows.values() if row["status"] == "ok"]
    assert [row["p_adjusted"] for row in tested] == holm([row["p"] for row in tested]).tolist()
    assert (rows["worse"]["status"], rows["worse"]["message"]) == ("not-compared", f"not in {second}")
    assert (rows["new"]["status"], rows["new"]["message"]) == ("not-compared", f"not in {run}")


def test_a_run_does_not_differ_from_itself(tmp_path, run):
    rows = compare_runs(run, cut_run(tmp_path / "copy", run))
    assert {(row["difference"], row["p"], row["p_adjusted"], row["message"]) for row in rows} == {(0.0, 1.0, 1.0, "")}


def test_other_versions_of_a_set_are_refused(tmp_path, run):
    second = write_run(tmp_path / "second", SCORES, LABELS, seeds=(0, 1), version=2)
    with pytest.raises(UserError, match="made has version 1 in .* and version 2 in .*, whose items differ"):
        compare_runs(run, second)

    def both(frame):  # a second sample set, so that something can be compared
        return pd.concat([frame, frame.assign(sample_set="same", sample_set_version=1)])

    rows = compare_runs(cut_run(tmp_path / "a", run, change=both), cut_run(tmp_path / "b", second, change=both))
    assert {row["sample_set"] for row in rows if row["status"] == "ok"} == {"same"}
    assert all("version 2" in row["message"] for row in rows if row["sample_set"] == "made")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.assign(label=1 - frame["label"]), "another label"),
        (lambda frame: frame.assign(seed=frame["seed"] + 5), "no noise seed is in both"),
        (lambda frame: frame.assign(item_id="x" + frame["item_id"]), "no item is in both"),
        (lambda frame: frame[frame["label"] == 1], "all memorized or all not"),
        (lambda frame: frame.assign(status="nonfinite", score=np.nan), "has status nonfinite in"),
    ],
)
def test_what_cannot_be_compared_is_said(tmp_path, run, change, words):
    with pytest.raises(UserError, match=words):
        compare_runs(run, cut_run(tmp_path / "second", run, change=change))


@pytest.mark.parametrize("form", FORMATS)
def test_formats_tell_the_same(form, tmp_path, run):
    rows = compare_runs(run, write_run(tmp_path / "second", {"good": WORSE}, LABELS, seeds=(0, 1), clusters=CLUSTERS))
    text = FORMATS[form](rows)
    if form == "json":
        assert json.loads(text) == rows
    elif form == "csv":
        assert text.splitlines()[0] == ",".join(FIELDS)
        assert len(text.splitlines()) == 4
    else:
        assert f"first: {run}, second: {tmp_path / 'second'}" in text
        assert "made v1: 20 memorized, 20 not, effective n 10" in text
        assert f"worse, noise: not compared: not in {tmp_path / 'second'}." in text
        assert f"{rows[0]['difference']:+.3f}".replace("+0.", "+.") in text
