"""Runs against published figures: what is compared, what is not, and what is said."""

import csv
import io
import json

import numpy as np
import pytest

from memdet.errors import UserError
from memdet.published.against import Against, against_published
from memdet.published.figures import Figure
from memdet.published.text import FORMATS, figures_table, tables_of, verdict
from memdet.results import Run
from memdet.tables.rows import rows_of
from tests.helpers.runs import write_run

LABELS = np.repeat([1, 0], 150)
SET = {"sample_set": "small", "model": "org/sd", "steps": 50, "guidance": 7.5}


def figure(**given):
    known = dict(
        sample_set="small", model="sd", n_memorized=150, n_other=150, detector="wen2024", seeds=1, generations=1,
        steps=50, guidance=7.5, measure="auroc", value=0.5, paper="key", arxiv="", place="Table 1", note="",
    )  # fmt: skip
    return Figure(**known | given)


@pytest.fixture
def write(tmp_path):
    """A run whose scores are one normal deviation higher for memorized items: an AUROC of .76 in the long run."""

    def make(**options):
        scores = np.random.default_rng(1).normal(size=(300, len(options.get("seeds", (0,))))) + LABELS[:, None]
        by_detector = {"wen2024": scores, "jeon2025": -scores, "random": np.zeros(300)}
        path = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        return write_run(path, by_detector, LABELS, access={"random": "none"}, **SET | options)

    return make


def test_the_interval_decides(write):
    run = Run.load(write())
    row = next(row for row in rows_of(run) if row["detector"] == "wen2024")
    low, high = row["auroc_low"], row["auroc_high"]
    assert low < row["auroc"] < high
    expected = {low: True, high: True, low - 0.0006: False, high + 0.0006: False, low - 0.0004: True}
    found = against_published([run], [figure(value=value) for value in expected]).comparisons
    assert [one.agrees for one in found] == list(expected.values())
    assert {(one.measured, one.low, one.high) for one in found} == {(row["auroc"], low, high)}
    assert [one.difference for one in found] == pytest.approx([row["auroc"] - value for value in expected])
    (one,) = against_published([run], [figure(value=0.1, measure="tpr_at_1_fpr")]).comparisons
    assert (one.measured, one.low, one.high) == tuple(row[f"tpr_at_1_fpr{end}"] for end in ("", "_low", "_high"))


@pytest.mark.parametrize(
    ("published", "words"),
    [
        ({"seeds": 4, "generations": 4}, "taken with 4 noise seeds, here 1"),
        ({"model": "sd-2"}, "published for sd-2, here sd"),
        ({"steps": 20}, "published for 20 steps, here 50"),
        ({"guidance": 3}, "published for guidance 3, here 7.5"),
        ({"n_memorized": 500, "n_other": 500}, "published for 500 memorized prompts and 500 not, here 150 and 150"),
    ],
)
def test_what_differs_is_said_and_not_compared(write, published, words):
    found = against_published([write()], [figure(**published)])
    (one,) = found.comparisons
    assert one.differs == words
    assert (one.measured, one.difference, one.agrees) == (None, None, None)
    (table,) = tables_of(found)
    assert table.rows == []
    assert f"wen2024 (n = {one.figure.generations}): {words}." in table.notes
    assert verdict(found) == "No published figure could be compared."


def test_a_guidance_that_is_not_involved_may_be_another(write):
    (one,) = against_published([write(guidance=2.0)], [figure(guidance=None)]).comparisons
    assert one.differs == ""


@pytest.mark.parametrize("model", ["sd", "mirror/sd", "mirror/sd@main", "/models/sd/"])
def test_mirrors_and_copies_of_the_model(write, model):
    assert against_published([write(model=model)], [figure()]).comparisons[0].differs == ""


def test_scores_averaged_over_the_seeds_of_the_paper(write):
    run = Run.load(write(seeds=(0, 1, 2, 3)))
    found = against_published([run], [figure(), figure(seeds=4, generations=4)])
    assert [one.differs for one in found.comparisons] == ["taken with 1 noise seed, here 4", ""]


def test_a_row_without_numbers_says_why(write):
    path = write(statuses={"wen2024": "not-applicable"}, messages={"wen2024": ["no attention here"]})
    (one,) = against_published([path], [figure()]).comparisons
    assert (one.differs, one.agrees) == ("not-applicable: no attention here", None)


def test_detectors_without_figures_are_named_but_for_controls(write):
    found = against_published([write()], [figure()])
    assert found.without == {"small": ["jeon2025"]}
    assert "jeon2025: no published figure." in tables_of(found)[0].notes


@pytest.mark.parametrize("figures", [None, [figure(sample_set="other")], [figure(sample_set="")], []])
def test_nothing_has_a_counterpart(write, figures):
    with pytest.raises(UserError) as caught:
        against_published([write()], figures)
    assert "nothing of this has a published counterpart" in str(caught.value)
    assert "this holds small" in str(caught.value)


def test_the_verdict_names_what_is_outside(write):
    run = Run.load(write())
    measured = next(row["auroc"] for row in rows_of(run) if row["detector"] == "wen2024")
    near, far = figure(value=round(measured, 3)), figure(value=0.1, generations=1, paper="another")
    found = against_published([run], [near, far])
    assert verdict(found) == (
        "1 of 2 published figures lies within the interval. Outside, measured minus published: "
        f"AUROC of wen2024 (n = 1) on small +{measured - 0.1:.3f}."
    ).replace("+0.", "+.")
    assert [row[-1] for row in tables_of(found)[0].rows] == ["within", "outside"]


def test_formats_hold_the_same(write):
    found = against_published([write()], [figure(), figure(value=0.1, seeds=2, generations=2)])
    rows = json.loads(FORMATS["json"](found))
    assert [(row["published"], row["agrees"], row["differs"]) for row in rows] == [
        (0.5, False, ""),
        (0.1, None, "taken with 2 noise seeds, here 1"),
    ]
    read = list(csv.DictReader(io.StringIO(FORMATS["csv"](found))))
    assert [row["measured"] for row in read] == [str(rows[0]["measured"]), ""]
    assert "Source: key, Table 1." in FORMATS["markdown"](found)
    assert "Source: key, Table 1." in FORMATS["table"](found)


def test_several_runs_have_tables_of_their_own(write):
    found = against_published([write(), write()], [figure()])
    titles = [table.title for table in tables_of(found)]
    assert len(titles) == 2
    assert all("small v1 against published figures, run " in title for title in titles)


def test_all_figures_as_one_table():
    two = [figure(), figure(measure="tpr_at_1_fpr", value=0.25), figure(model="sd-2", value=0.75)]
    table = figures_table(two)
    assert table.headers == ["detector", "n", "sd: AUROC", "sd: TPR at 1 % FPR", "sd-2: AUROC", "sd-2: TPR at 1 % FPR"]
    assert table.rows == [["`wen2024`", "1", ".500", ".250", ".750", ""]]


def test_nothing_compared_is_no_agreement():
    assert Against([], {}).compared == []
