"""What must hold on the planted set: controls are blind, and the score difference is not."""

from pathlib import Path

import pytest

from memdet.detectors import detector_classes, make_detectors
from memdet.metrics import auroc, holm, permutation_above_half
from memdet.results.store import read_scores
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set
from memdet.tables import report_rows

REFERENCE = Path(__file__).resolve().parents[1] / "results" / "quick" / "reference"
CONTROLS = ["prompt-length", "prompt-case", "prompt-digits", "prompt-ngram"]


@pytest.fixture(scope="module")
def means(tmp_path_factory):
    """Mean score over seeds of each item, by detector."""
    out = tmp_path_factory.mktemp("planted") / "run"
    detectors = make_detectors([*CONTROLS, "wen2024", "wen2024@steps=5", "curvature-gap"], detector_classes())
    run([load_sample_set("tiny-sd-a-verbatim")], detectors, out, RunOptions(), progress=False)
    table = read_scores(out).to_pandas()
    grouped = table.groupby(["detector", "item_id"]).agg(
        score=("score", "mean"), label=("label", "first"), cluster=("cluster", "first")
    )
    return {name: grouped.loc[name] for name in table["detector"].unique()}


@pytest.mark.slow
def test_no_prompt_control_is_above_chance(means):
    p_values = [
        permutation_above_half(means[name]["score"], means[name]["label"], means[name]["cluster"], draws=2_000)
        for name in CONTROLS
    ]
    assert holm(p_values).min() > 0.05


@pytest.mark.slow
def test_score_difference_finds_what_was_planted(means):
    for name in ("wen2024", "wen2024@steps=5"):
        assert auroc(means[name]["score"], means[name]["label"]) > 0.9


def test_published_run_has_late_curvature_above_nine_tenths():
    rows = report_rows([REFERENCE])
    (row,) = [r for r in rows if (r["sample_set"], r["detector"]) == ("tiny-sd-a-verbatim", "hessian-trace@t=200")]
    assert row["auroc_low"] > 0.9
