"""The table of AUROC by time."""

import pytest

from memdet.errors import UserError
from memdet.tables.by_time import by_time


def row(detector, auroc, sample_set="a", version=1):
    numbers = dict.fromkeys(["auroc", "auroc_low", "auroc_high"], auroc)
    place = {"sample_set": sample_set, "sample_set_version": version, "stratum": None, "run": "suite/run"}
    return place | {"detector": detector, "n_positive": 3, "n_negative": 4, "n_effective": 3.0, "seeds": 2} | numbers


def test_times_become_columns():
    rows = [row("x@t=50", 0.5), row("x", 0.25), row("y@p=1,t=200", 0.75), row("y@p=1", None), row("z", 1.0)]
    assert by_time([*rows, row("z@t=3", 0.5, "b"), row("z", 0.125, "b"), row("only", 0.5, "c")]).splitlines() == [
        "**a v1: 3 memorized, 4 not, effective n 3, 2 noise seeds**",
        "",
        "| AUROC at | first step | t = 200 | t = 50 |",
        "| --- | --: | --: | --: |",
        "| x | .250 [.250, .250] |  | .500 [.500, .500] |",
        "| y@p=1 | - | .750 [.750, .750] |  |",
        "",
        "**b v1: 3 memorized, 4 not, effective n 3, 2 noise seeds**",
        "",
        "| AUROC at | first step | t = 3 |",
        "| --- | --: | --: |",
        "| z | .125 [.125, .125] | .500 [.500, .500] |",
    ]


def test_versions_of_a_sample_set_have_a_table_each():
    lines = by_time([row("x@t=50", 0.5), row("x", 0.25), row("x@t=50", 0.75, version=2), row("x", 1.0, version=2)])
    assert [line for line in lines.splitlines() if line.startswith("**")] == [
        "**a v1: 3 memorized, 4 not, effective n 3, 2 noise seeds**",
        "**a v2: 3 memorized, 4 not, effective n 3, 2 noise seeds**",
    ]


def test_without_a_second_time_there_is_no_table():
    with pytest.raises(UserError, match="at several times"):
        by_time([row("x", 0.25), row("y@t=50", 0.5)])
