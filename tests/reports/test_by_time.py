"""The table of AUROC by time."""

from memdet.reports.by_time import by_time


def row(detector, auroc, sample_set="a", status="ok"):
    numbers = dict.fromkeys(["auroc", "auroc_low", "auroc_high"], auroc)
    return {"sample_set": sample_set, "detector": detector, "n_positive": 3, "n_negative": 4, "seeds": 2} | numbers


def test_times_become_columns():
    rows = [row("x@t=50", 0.5), row("x", 0.25), row("y@p=1,t=200", 0.75), row("y@p=1", None), row("z", 1.0)]
    assert by_time([*rows, row("z@t=3", 0.5, "b"), row("z", 0.125, "b"), row("only", 0.5, "c")]).splitlines() == [
        "**a: 3 memorized, 4 not, 2 noise seeds**",
        "",
        "| AUROC at | first step | t = 200 | t = 50 |",
        "| --- | --: | --: | --: |",
        "| x | .250 [.250, .250] |  | .500 [.500, .500] |",
        "| y@p=1 | - | .750 [.750, .750] |  |",
        "",
        "**b: 3 memorized, 4 not, 2 noise seeds**",
        "",
        "| AUROC at | first step | t = 3 |",
        "| --- | --: | --: |",
        "| z | .125 [.125, .125] | .500 [.500, .500] |",
    ]
