"""The tables of AUROC by dose, and of the extraction rate at which it reaches .75."""

import csv
import io
import json

import numpy as np
import pytest

from memdet.errors import UserError
from memdet.metrics import psychometric_curve
from memdet.results import Run
from memdet.tables.by_dose import AT, FIELDS, FORMATS, PLACES, crossing, dose_responses, dose_rows
from memdet.tables.rows import report_rows
from tests.helpers.runs import cut_run, write_run

DOSES = {"verbatim": 1.0, "copies-128": 0.75, "copies-96": 0.25, "copies-32": 0.0}
STRATA = np.repeat(["single", *DOSES], 30)
LABELS = (STRATA != "single").astype(int)
LONGEST = "jeon2024-eigenvalues@statistic=positive,t=50"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Items, and the run of detectors that see little, all, nothing and what no draw moves."""
    rng = np.random.default_rng(1)
    rates = [0.0 if name == "single" else rng.binomial(8, DOSES[name]) / 8 for name in STRATA]
    seen = rng.normal(size=(150, 4)) + 3 * np.array(rates)[:, None]
    scores = {
        LONGEST: seen,
        "sees-all": np.repeat(LABELS[:, None], 4, axis=1) + 0.1 * rng.random((150, 4)),
        "random": rng.permutation(np.repeat(np.arange(75.0), 2)),
        "failed": seen,
    }
    path = tmp_path_factory.mktemp("made") / "run"
    run = write_run(
        path, scores, LABELS, strata=STRATA, extraction=rates, seeds=range(4), sample_set="grown",
        access={"random": "none"}, unseeded=["random"], statuses={"failed": "error"},
    )  # fmt: skip
    return scores, rates, run


@pytest.fixture(scope="module")
def rows(made):
    return dose_rows(dose_responses([made[2]])[0])


def test_a_row_a_detector_and_dose(made, rows):
    rates = made[1]
    names = ["copies-32", "copies-96", "copies-128", "verbatim"]
    assert [(row["detector"], row["stratum"]) for row in rows] == [
        (detector, name) for detector in (LONGEST, "sees-all", "random") for name in names
    ]
    assert all(tuple(row) == FIELDS for row in rows)
    assert [row["copies"] for row in rows[:4]] == [32, 96, 128, None]
    for row, name in zip(rows, names, strict=False):
        assert row["extraction"] == pytest.approx(np.mean(np.array(rates)[name == STRATA]))
    assert (rows[0]["lowest_extraction"], rows[0]["highest_extraction"]) == (0.125, 1.0)
    assert [row["draws"] for row in rows[::4]] == [4, 4, None]


def test_aurocs_are_those_of_the_table_by_stratum(made, rows):
    by_stratum = {(row["detector"], row["stratum"]): row for row in report_rows([made[2]], by_stratum=True)}
    for row in rows:
        other = by_stratum[row["detector"], row["stratum"]]
        for field in ("auroc", "auroc_low", "auroc_high", "n_positive", "n_negative", "seeds", "draws"):
            assert row[field] == pytest.approx(other[field]), field


def test_the_crossing_is_that_of_the_curve(made, rows):
    scores, rates, _ = made
    of_detector = {row["detector"]: row for row in rows}
    curve = psychometric_curve(
        scores[LONGEST].mean(axis=1), LABELS, rates, np.arange(150), strata=STRATA, by_seed=scores[LONGEST]
    )
    row = of_detector[LONGEST]
    assert row["reached"] == "yes"
    assert row["extraction_at_75"] == pytest.approx(curve.crossing.value)
    assert row["extraction_at_75_low"] == curve.crossing.low
    row = of_detector["sees-all"]
    assert (row["reached"], row["extraction_at_75"], row["extraction_at_75_low"]) == ("already", None, None)
    assert row["extraction_at_75_high"] == 0.125
    assert crossing(row) == "< .125"
    row = of_detector["random"]
    assert (row["reached"], row["extraction_at_75"], row["extraction_at_75_high"]) == ("never", None, None)
    assert crossing(row).startswith("never")


@pytest.mark.parametrize(
    ("reached", "low", "high", "cell"),
    [
        ("yes", 0.25, 0.5, ".400 [.250, .500]"),
        ("yes", None, 0.5, ".400 [< .500]"),
        ("yes", None, None, ".400 [no bound]"),
        ("never", 0.5, None, "never [> .500]"),
        ("never", 0.875, None, "never"),
        ("already", None, 0.25, "< .125 [< .250]"),
        ("already", None, 0.125, "< .125"),
    ],
)
def test_cells(reached, low, high, cell):
    row = {"reached": reached, "extraction_at_75": 0.4 if reached == "yes" else None}
    row |= {"extraction_at_75_low": low, "extraction_at_75_high": high}
    assert crossing(row | {"lowest_extraction": 0.125, "highest_extraction": 0.875}) == cell


def test_formats_tell_the_same(rows):
    assert json.loads(FORMATS["json"](rows)) == rows
    read = list(csv.DictReader(io.StringIO(FORMATS["csv"](rows))))
    assert [row["auroc"] for row in read] == [str(row["auroc"]) for row in rows]
    assert [row["extraction_at_75"] for row in read[::4]] == [str(rows[0]["extraction_at_75"]), "", ""]
    for form in ("table", "markdown"):
        text = FORMATS[form](rows)
        assert text.count(crossing(rows[0])) == 2  # among all detectors, and below its own doses
        assert text.count("copies-128") == 3
        assert "grown v1: 120 memorized in 4 doses, 30 not" in text
        assert f"{AT}: < .125" in text


def test_a_terminal_of_80_places_is_wide_enough(rows):
    named = [
        row | {"run": run, "sample_set": "tiny-sd-a-dose"} for run in ("one/reference", "two/other") for row in rows
    ]
    for told in (rows, named):
        lines = FORMATS["table"](told).split("\n")
        assert max(map(len, lines)) <= PLACES, max(lines, key=len)
        assert any(LONGEST in line and AT not in line for line in lines)


def test_sets_without_doses_are_left_out_in_one_line_a_reason(made, tmp_path):
    run, rates = made[2], made[1]
    several = np.where(np.arange(150) == 0, "other", STRATA)

    def of_set(name, strata=STRATA, extraction=rates, kept=slice(None)):
        scores, labels = {"a": np.arange(150.0)[kept]}, LABELS[kept]
        return write_run(tmp_path / name, scores, labels, strata=strata[kept], extraction=extraction, sample_set=name)

    others = [
        of_set("plain", np.full(150, "all")),
        of_set("one-dose", kept=slice(60)),
        of_set("unmeasured", extraction=None),
        of_set("one-rate", extraction=[0.5] * 150),
        of_set("two", several),
    ]
    found, left_out = dose_responses([run, *others])
    assert {response.sample_set for response in found} == {"grown"}
    assert [line.partition(":")[0] for line in left_out] == ["plain, one-dose", "unmeasured", "one-rate", "two"]
    assert all("left out: " in line for line in left_out)
    assert dose_responses([Run.load(others[0])])[0] == []


def test_a_run_without_labels_is_refused(made, tmp_path):
    scan = cut_run(tmp_path / "scan", made[2], change=lambda frame: frame.assign(label=None))
    with pytest.raises(UserError, match="scan"):
        dose_responses([scan])
