"""Rows of a table from score files whose metrics are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from memdet.cli import main
from memdet.reports import FORMATS, report_rows
from memdet.running import read_scores
from memdet.running.store import SCORES

OLD_RUN = Path(__file__).parents[1] / "running" / "stored" / "run-v1"


@pytest.fixture
def run(write_run, tmp_path):
    return write_run(tmp_path)


def test_a_table_of_all_items(run):
    found, random = report_rows([run])
    assert (found["stratum"], found["n_positive"], found["n_negative"], found["seeds"]) == (None, 4, 4, 2)
    assert found["auroc"] == (4 + 4 + 2 + 1) / 16
    assert found["gain_over_control"] == pytest.approx(found["auroc"] - 0.5)
    assert found["seconds_per_item"] == 1.6 / 16
    assert (found["sample_set_version"], found["detector_version"]) == (1, 1)
    assert random["auroc"] == 0.5
    assert random["rank_correlation"] is None  # constant


def test_rank_correlation_is_spearmans(run, items):
    from scipy.stats import spearmanr

    (found, _) = report_rows([run])
    expected = spearmanr([item[3] for item in items], [item[2] for item in items]).statistic
    assert found["rank_correlation"] == pytest.approx(expected)
    assert expected < 0.9


def test_a_table_a_stratum_against_all_negatives(run):
    rows = {(row["stratum"], row["detector"]): row for row in report_rows([run], by_stratum=True)}
    assert list(rows) == [("strong", "found"), ("strong", "random"), ("weak", "found"), ("weak", "random")]
    assert rows["strong", "found"]["auroc"] == 1.0
    assert rows["weak", "found"]["auroc"] == 3 / 8
    assert {(row["n_positive"], row["n_negative"]) for row in rows.values()} == {(2, 4)}
    assert rows["weak", "found"]["seconds_per_item"] == 1.6 / 16


@pytest.mark.parametrize("form", ["table", "markdown"])
@pytest.mark.parametrize("version", [1, 2])
def test_runs_and_versions_have_a_table_each(version, form, write_run, tmp_path):
    suite = tmp_path / "suite"
    rows = report_rows([write_run(suite / "first"), write_run(suite / "second", version=version)])
    assert [row["run"] for row in rows] == ["suite/first"] * 2 + ["suite/second"] * 2
    titles = [line.strip(" *") for line in FORMATS[form](rows).splitlines() if "noise seeds" in line]
    assert titles == [
        "small v1: 4 memorized, 4 not, 2 noise seeds, run suite/first",
        f"small v{version}: 4 memorized, 4 not, 2 noise seeds, run suite/second",
    ]


@pytest.mark.parametrize("form", ["table", "json", "csv", "markdown", "latex"])
def test_strata_on_the_command_line(run, form, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(run), "--by-stratum", "--format", form])
    assert not stop.value.code
    output = capsys.readouterr().out
    if form == "json":
        assert [row["stratum"] for row in json.loads(output)] == ["strong", "strong", "weak", "weak"]
    elif form == "csv":
        assert output.splitlines()[0].startswith("sample_set,sample_set_version,stratum,detector,")
    else:
        assert "small v1, strong: 2 memorized, 4 not, 2 noise seeds" in output
        assert "small v1, weak: 2 memorized, 4 not, 2 noise seeds" in output


def test_a_run_of_the_first_schema_is_still_read():
    assert json.loads((OLD_RUN / "run.json").read_text())["schema_version"] == 1
    assert "extraction" not in pq.read_schema(OLD_RUN / "scores.parquet").names
    table = read_scores(OLD_RUN)
    assert table.schema.equals(SCORES)
    assert all(math.isnan(value) for value in table["extraction"].to_pylist())
    rows = {(row["sample_set"], row["detector"]): row for row in report_rows([OLD_RUN])}
    # As the table printed with that run said.
    assert rows["tiny-sd-a-verbatim", "wen2024"]["auroc"] == pytest.approx(0.891, abs=5e-4)
    assert rows["tiny-sd-a-verbatim", "curvature-gap"]["auroc"] == pytest.approx(0.983, abs=5e-4)
    assert {row["rank_correlation"] for row in rows.values()} == {None}
