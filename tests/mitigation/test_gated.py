"""Mitigation of flagged captions alone, with detectors whose flags are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from memdet.errors import UserError
from memdet.mitigating.gated import EVERYBODY, NOBODY, gate
from memdet.mitigating.measures import measure
from memdet.mitigating.text import Comparison, to_json, to_markdown, to_text
from memdet.results import Run
from tests.helpers.runs import write_run
from tests.mitigation.test_measures import ITEMS, SEEDS, Oracle, made, run_of


@pytest.fixture
def mitigated():
    """Without mitigation every caption is copied and right; with it none is copied and all are wrong."""
    _, numbers = run_of()
    right = np.repeat(numbers[:, None], SEEDS, axis=1)
    wrong = (right + 1) % 10
    run, _ = run_of(
        made("none", right, np.full(right.shape, 0.02)),
        made("wen2024-mitigation", wrong, np.full(right.shape, 0.5), forwards=150.0),
    )
    return run


def detectors(tmp_path, run):
    """One that knows the labels, one that has them upside down, and one that flags every second memorized caption."""
    labels = run.items["label"].to_numpy()
    order = np.arange(ITEMS) / ITEMS
    scores = {
        "knows": labels + order / 2,
        "reversed": -labels - order / 2,
        "half": np.where(np.arange(ITEMS) % 4 == 1, 2.0, order),
    }
    columns = {name: np.stack([values, values], axis=1) for name, values in scores.items()}
    ids = run.items["item_id"].tolist()
    return Run.load(write_run(tmp_path / "run", columns, labels.tolist(), ids=ids, seeds=(0, 1), sample_set="mine"))


def test_flags_decide_what_is_left_spoiled_and_paid(mitigated, tmp_path):
    rows = {row.detector: row for row in gate(mitigated, detectors(tmp_path, mitigated), 0.05, Oracle())}
    assert (rows[NOBODY].copied.value, rows[NOBODY].faithful["ordinary"].value) == (1.0, 1.0)
    assert (rows[EVERYBODY].copied.value, rows[EVERYBODY].faithful["ordinary"].value) == (0.0, 0.0)
    assert (rows["knows"].flagged["memorized"], rows["knows"].copied.value) == (1.0, 0.0)
    assert rows["knows"].flagged["ordinary"] == pytest.approx(3 / 60)  # the three highest of 60, at .05
    assert rows["knows"].faithful["ordinary"].value == pytest.approx(57 / 60)
    assert rows["reversed"].flagged["memorized"] == 0.0
    assert rows["half"].copied.value == pytest.approx(0.5, abs=0.05)
    cheap, dear = (rows[name].evaluations for name in (NOBODY, EVERYBODY))
    assert (cheap, dear) == (100.0, 150.0)
    share = (rows["knows"].flagged["memorized"] + rows["knows"].flagged["ordinary"]) / 2
    own = rows["knows"].evaluations - 100 - 50 * share
    assert own == pytest.approx(rows["reversed"].evaluations - 100 - 50 * rows["reversed"].flagged["ordinary"] / 2)
    assert own > 0


def test_no_more_ordinary_captions_are_flagged_than_stated():
    """Of exchangeable scores: over many draws the share is at most the rate, and near it."""
    from memdet.mitigating.gated import _flagged

    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    for fpr in (0.02, 0.1, 0.5):
        flagged = np.mean([_flagged(rng.normal(size=120), labels, fpr) for _ in range(500)], axis=0)
        for label in (0, 1):
            assert fpr - 0.025 < flagged[labels == label].mean() <= fpr + 0.005


def test_what_is_missing_is_said(mitigated, tmp_path):
    scores = detectors(tmp_path, mitigated)
    for rate in (0.0, 1.0, float("nan")):
        with pytest.raises(UserError, match="`fpr` is .*; write a rate"):
            gate(mitigated, scores, rate, Oracle())
    other = Run.load(write_run(tmp_path / "other", {"good": np.zeros((2, 1))}, [0, 1], seeds=(0,)))
    with pytest.raises(UserError, match="has no scores of 120 captions of mine"):
        gate(mitigated, other, 0.05, Oracle())


def test_the_table_fits_and_says_the_same_in_every_form(mitigated, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rows = gate(mitigated, detectors(tmp_path, mitigated), 0.05, Oracle())
    found = Comparison(mitigated, measure(mitigated, Oracle()), rows, 0.05)
    assert max(map(len, to_text(found).splitlines())) <= 80
    assert "wen2024-mitigation, of what a detector flags" in to_markdown(found)
    told = json.loads(to_json(found))
    assert told["fpr"] == 0.05
    assert [row["detector"] for row in told["gated"]] == [NOBODY, "knows", "reversed", "half", EVERYBODY]
