"""The leaderboard of runs whose metrics are known."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from memdet.detectors import detector_classes
from memdet.errors import UserError
from memdet.leaderboard.board import find_runs, leaderboard_json, leaderboard_rows
from memdet.leaderboard.markdown import leaderboard_markdown
from memdet.tables import FIELDS, report_rows


def by_detector(rows):
    return {(row["sample_set_version"], row["detector"]): row for row in rows}


def test_rows_are_those_of_the_report_to_six_digits(write_run, tmp_path):
    run = write_run(tmp_path / "suite" / "one")
    rows = leaderboard_rows(tmp_path)
    assert [row["detector"] for row in rows] == ["found", "random"]
    for row, expected in zip(rows, report_rows([run]), strict=True):
        assert tuple(row) == FIELDS
        assert row["run"] == expected["run"] == "suite/one"
        for name, value in expected.items():
            assert row[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
    assert json.loads(leaderboard_json(rows)) == {"schema_version": 1, "rows": rows}
    floats = [text for text in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", leaderboard_json(rows))]
    assert all(len(text.strip("-0").replace(".", "").lstrip("0")) <= 6 for text in floats)


def test_detectors_of_several_runs_share_the_table_of_their_set(write_run, tmp_path):
    write_run(tmp_path / "suite" / "one")
    write_run(tmp_path / "suite" / "two", detector="better", shift=10.0)
    rows = leaderboard_rows(tmp_path)
    assert [(row["detector"], row["run"]) for row in rows] == [
        ("better", "suite/two"),
        ("found", "suite/one"),
        ("random", "suite/one"),
    ]
    assert [row["auroc"] for row in rows] == [1.0, 11 / 16, 0.5]
    assert [row["gain_over_control"] for row in rows] == [0.5, 3 / 16, None]


def test_rows_of_other_noise_seeds_are_shown_and_not_ranked(write_run, tmp_path):
    write_run(tmp_path / "suite" / "one", seeds=2)
    write_run(tmp_path / "suite" / "two", detector="reversed", shift=-10.0, seeds=2)
    write_run(tmp_path / "suite" / "three", detector="better", shift=10.0, seeds=5)
    rows = leaderboard_rows(tmp_path)
    assert [(row["detector"], row["seeds"], row["ranked"]) for row in rows] == [
        ("found", 2, True),
        ("random", 2, True),
        ("reversed", 2, True),
        ("better", 5, False),
    ]
    assert rows[0]["tie_group"] == 1
    assert rows[-1]["tie_group"] is None
    assert rows[-1]["auroc"] == 1.0
    page = leaderboard_markdown(rows)
    assert "| better | 10 F | 1.000‡ |" in page  # 2 F under each of five seeds, and not bold
    assert "4 memorized, 4 not, effective n 4, 2 noise seeds" in page
    assert "| better | 1.000 [.398, 1.000] | 5 seeds |" in page
    assert (
        "better: averaged over 5 noise seeds, the others over 2: not ranked with them; score it with --seeds 2." in page
    )


def test_of_two_runs_of_a_detector_the_one_with_the_seeds_of_the_others_stands(write_run, tmp_path):
    write_run(tmp_path / "suite" / "two", seeds=2)
    write_run(tmp_path / "suite" / "five", seeds=5)
    for name in ("a", "b"):
        write_run(tmp_path / "suite" / name, detector=name, seeds=2)
    rows = {row["detector"]: row for row in leaderboard_rows(tmp_path)}
    assert (rows["found"]["run"], rows["found"]["ranked"]) == ("suite/two", True)


@pytest.mark.parametrize(
    ("other", "stands"),
    [
        ({"seeds": 1}, "a/first"),
        ({"seeds": 3}, "b/second"),
        ({"seeds": 1, "detector_version": 2}, "b/second"),
        ({"started": "2025-12-31T00:00:00+00:00"}, "b/second"),
        ({"started": "2026-02-01T00:00:00+00:00"}, "a/first"),
    ],
)
def test_one_row_a_detector(other, stands, write_run, tmp_path):
    write_run(tmp_path / "a" / "first")
    write_run(tmp_path / "b" / "second", **other)
    rows = by_detector(leaderboard_rows(tmp_path))
    assert rows[1, "found"]["run"] == stands
    assert len(rows) == 2


def test_the_order_of_items_in_a_run_does_not_matter(write_run, tmp_path):
    write_run(tmp_path / "a" / "one", shift=1.0)
    write_run(tmp_path / "b" / "two", detector="other", shift=2.0)
    expected = leaderboard_rows(tmp_path)
    file = tmp_path / "b" / "two" / "scores.parquet"
    table = pq.read_table(file)
    pq.write_table(table.take(list(reversed(range(len(table))))), file)
    assert leaderboard_rows(tmp_path) == expected


def test_versions_of_a_sample_set_never_share_a_table(write_run, tmp_path):
    write_run(tmp_path / "suite" / "old")
    write_run(tmp_path / "suite" / "new", version=2, shift=10.0)
    rows = leaderboard_rows(tmp_path)
    assert [row["sample_set_version"] for row in rows] == [1, 1, 2, 2]
    page = leaderboard_markdown(rows)
    old, new = (page.index(f"### small v{version}\n") for version in (1, 2))
    assert new < old
    assert "Superseded by v2." in page[old:]
    assert ".688" in page[old:]
    assert ".688" not in page[:old]
    assert "1.000" not in page[old:].replace("1.000]", "")


def test_a_run_counts_only_with_its_score_file_and_if_it_is_one_of_detectors(write_run, tmp_path):
    write_run(tmp_path / "suite" / "one")
    (write_run(tmp_path / "suite" / "two", detector="other") / "scores.parquet").unlink()
    for name, file in (("scan", "scan.json"), ("mitigations", "generations.parquet")):
        (write_run(tmp_path / "suite" / name, detector="other") / file).touch()
    assert [run.name for run in find_runs(tmp_path)] == ["one"]
    assert "other" not in {row["detector"] for row in leaderboard_rows(tmp_path)}


def test_runs_of_other_data_or_weights_under_one_name_are_refused(write_run, tmp_path):
    first = write_run(tmp_path / "suite" / "one")
    settings = json.loads((first / "run.json").read_text())["settings"]
    detectors = [{"label": "other", "access": "score"}, {"label": "random", "access": "none"}]
    for field, value in (("content_hash", "other items"), ("model_hashes", {"m": "other weights"})):
        changed = settings | {"sample_sets": [settings["sample_sets"][0] | {field: value}]}
        write_run(tmp_path / "suite" / "two", detector="other", settings=changed | {"detectors": detectors})
        with pytest.raises(UserError, match=r"suite/one and suite/two differ in .* of small v1"):
            leaderboard_rows(tmp_path)


def test_page_marks_controls_best_and_what_beats_no_control(write_run, tmp_path):
    write_run(tmp_path / "suite" / "one")
    write_run(tmp_path / "suite" / "two", detector="better", shift=10.0)
    write_run(tmp_path / "suite" / "three", detector="reversed", shift=-10.0)
    lines = leaderboard_markdown(leaderboard_rows(tmp_path)).splitlines()
    head = next(index for index, line in enumerate(lines) if line.startswith("| AUROC | cost |"))
    assert lines[head] == "| AUROC | cost | [small](#small-v1) |"
    assert lines[head + 2 : head + 6] == [
        r"| random \* | 0 | .500 |",
        "| better | 4 F | **1.000** |",
        "| found | 4 F | *.688* |",
        "| reversed | 4 F | *.000* |",
    ]


def test_legend_says_what_every_column_of_numbers_means(write_run, tmp_path):
    write_run(tmp_path / "run")
    legend = leaderboard_markdown(leaderboard_rows(tmp_path)).split("## All rows")[1].split("###")[0]
    for column in ("group:", "gain:", "rank corr.:", "F, JVP, VJP:", "ms / item:", "seeds:", "run:"):
        assert column in legend


def test_page_leaves_detectors_of_few_sets_to_the_tables(write_run, tmp_path):
    for index in range(3):
        write_run(tmp_path / "suite" / f"run{index}")
    rows = leaderboard_rows(tmp_path)
    more = [row | {"sample_set": name} for name in ("other", "third") for row in rows]
    page = leaderboard_markdown([*rows, {**rows[0], "detector": "rare"}, *more])
    overview, tables = page.split("## All rows")
    assert "rare" not in overview
    assert "| rare |" in tables
    assert "1 more detectors and variants" in overview


def test_page_leaves_out_who_applies_to_no_set_and_names_what_failed(write_run, tmp_path):
    write_run(tmp_path / "suite" / "one")
    (row, control) = leaderboard_rows(tmp_path)
    none = row | dict.fromkeys(["auroc", "auroc_low", "auroc_high", "tpr_at_1_fpr", "gain_over_control"])
    silent = none | {"detector": "silent", "status": "not-applicable", "message": "no text"}
    broken = none | {"detector": "broken", "status": "error", "message": "ValueError: no"}
    overview, tables = leaderboard_markdown([row, control, silent, broken]).split("## All rows")
    assert "silent" not in overview
    assert "| broken | 4 F | error |" in overview
    for line in ("silent: not-applicable: no text.", "broken: error: ValueError: no."):
        assert line in tables


def test_cost_is_that_of_one_set_over_both_seeds(write_run, tmp_path):
    write_run(tmp_path / "suite" / "one")
    (row, control) = leaderboard_rows(tmp_path)
    other = row | {"sample_set": "other", "forwards": 1.0, "vjps": 10.0}
    assert "| found | 2 F + 20 VJP |" in leaderboard_markdown([other, row, control])


def test_a_set_that_half_of_the_detectors_solve_is_marked(write_run, tmp_path):
    write_run(tmp_path / "suite" / "one", shift=10.0)
    assert "[small](#small-v1)† |" in leaderboard_markdown(leaderboard_rows(tmp_path))


def test_a_run_that_lies_there_twice_counts_once(write_run, tmp_path):
    """The same scores under two names are no more items, seeds or rows than under one."""
    write_run(tmp_path / "once" / "suite" / "one")
    for name in ("one", "two"):
        write_run(tmp_path / "twice" / "suite" / name)
    once, twice = leaderboard_rows(tmp_path / "once"), leaderboard_rows(tmp_path / "twice")
    assert len(once) == 2
    assert twice == once


def test_rows_of_a_detector_that_was_corrected_since_are_marked_and_old_oracles_are_not_shown(tmp_path):
    from tests.helpers.runs import write_run as made

    scores = np.array([0.9, 0.8, 0.2, 0.1])
    names = ["random", "nemo2024", "wen2024", "nearest-neighbour", "a-plugin"]
    access = {"random": "none", "nearest-neighbour": "training-data"}
    made(tmp_path / "old", dict.fromkeys(names, scores), [1, 1, 0, 0], access=access)
    rows = leaderboard_rows(tmp_path)
    assert {row["detector"] for row in rows} == {*names} - {"nearest-neighbour"}
    page = leaderboard_markdown(rows)
    assert "| nemo2024 § |" in page
    assert "| wen2024 |" in page
    assert "a-plugin §" not in page
    versions = {name: detector_classes()[name].info.version for name in names[:4]}
    made(tmp_path / "new", dict.fromkeys(names, scores), [1, 1, 0, 0], access=access, detector_versions=versions)
    assert "§ |" not in leaderboard_markdown(leaderboard_rows(tmp_path / "new"))
    assert "nearest-neighbour" in {row["detector"] for row in leaderboard_rows(tmp_path / "new")}
