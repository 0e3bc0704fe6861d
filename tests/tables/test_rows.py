"""Rows of a table from score files whose metrics are known."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memdet.cli import main
from memdet.metrics import METRICS_VERSION, area_ties, auroc_interval, realised_fpr, variance_split
from memdet.results import SCORES, Manifest, Run, store
from memdet.results import scores as score_tables
from memdet.results.manifest import DetectorEntry
from memdet.results.store import read_scores
from memdet.tables import FORMATS, report_rows
from memdet.tables.comparison import compare_detectors
from memdet.tables.numbers import interval
from memdet.tables.rows import rows_of
from memdet.tables.set_statistics import draws_of
from tests.helpers.runs import write_run

OLD_RUN = Path(__file__).resolve().parents[1] / "results" / "stored" / "run-v1"


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


def test_what_rows_say_of_the_set_and_the_metrics(run):
    found, random = report_rows([run])
    assert found["n_effective"] == random["n_effective"] == 4
    assert found["realised_fpr"] is None  # four negatives resolve no 1 %
    assert found["metrics_version"] == METRICS_VERSION
    assert found["tie_group"] == random["tie_group"] == 1  # .69 and .5 on eight items


def test_two_separated_detectors_are_two_groups(tmp_path):
    labels = np.repeat([1, 0], 100)
    noise = np.random.default_rng(0).normal(size=200)
    run = write_run(
        tmp_path / "run", {"chance": noise, "good": noise + 2 * labels, "again": noise + 2.01 * labels}, labels
    )
    rows = {row["detector"]: row for row in report_rows([run])}
    assert {name: row["tie_group"] for name, row in rows.items()} == {"chance": 2, "good": 1, "again": 1}
    assert rows["good"]["realised_fpr"] == realised_fpr(noise + 2 * labels, labels) == 0.01
    assert "| good | " + interval(rows["good"], "auroc") + " | 1 |" in FORMATS["markdown"](list(rows.values()))


@pytest.mark.parametrize("few", [1, 2, 3])
def test_only_rows_with_the_noise_seeds_of_most_are_ranked(few, tmp_path):
    """Scores of ten seeds beat those of one of the same detector by their number alone; so they are not compared."""
    labels = np.repeat([1, 0], 100)
    rng = np.random.default_rng(few)

    def scores(seeds, shift):
        return rng.normal(size=(200, seeds)) + shift * labels[:, None]

    several = {f"a{index}": scores(4, 0.3) for index in range(few + 1)}
    others = {f"b{index}": scores(few, 3.0) for index in range(few)}
    free = {"control": scores(1, 1.0), "fixed": scores(1, 1.0)}
    parts = [
        write_run(tmp_path / name, found, labels, seeds=tuple(range(n)), access={"control": "text"}, unseeded=["fixed"])
        for name, found, n in (("several", several, 4), ("others", others, few), ("free", free, 1))
    ]
    frame = pd.concat([read_scores(part).to_pandas() for part in parts])
    manifest = Manifest.read(parts[0])
    entries = [entry for part in parts for entry in Manifest.read(part).settings.detectors]
    settings = manifest.settings.model_copy(update={"detectors": entries})
    table = pa.Table.from_pandas(frame, schema=SCORES, preserve_index=False)
    run = Run.from_tables(manifest.model_copy(update={"settings": settings}), table)

    rows = {row["detector"]: row for row in rows_of(run)}
    assert {label for label, row in rows.items() if row["ranked"]} == {*several, *free}
    assert {label for label, row in rows.items() if row["tie_group"] is None} == set(others)
    together = {row["detector"]: row["tie_group"] for row in rows_of(run) if row["ranked"]}
    means = np.stack([(several | free)[label].mean(axis=1) for label in together])
    by_seed = [several.get(label) for label in together]
    assert list(together.values()) == area_ties(means, labels, range(200), by_seed=by_seed).groups.tolist()
    assert {label: row["draws"] for label, row in rows.items()} == (
        dict.fromkeys(several, 4) | dict.fromkeys(others, few) | dict.fromkeys(free)
    )
    text = FORMATS["table"](list(rows.values()))
    assert f"averaged over {few} noise seed{'s' * (few > 1)}, the others over 4" in text
    assert "effective n 100, 4 noise seeds" in text

    pairs = compare_detectors(run)
    tested = {frozenset((row["first"], row["second"])) for row in pairs if row["status"] == "ok"}
    refused = {frozenset((row["first"], row["second"])) for row in pairs if row["status"] == "not-compared"}
    assert refused == {frozenset((one, other)) for one in several for other in others}
    assert tested == {frozenset(pair) for pair in combinations(rows, 2)} - refused
    assert all("--seeds" in row["message"] for row in pairs if row["status"] == "not-compared")


def test_costs_are_shown_over_all_seeds(run):
    found, random = report_rows([run])
    assert (found["forwards"], found["seeds"]) == (2.0, 2)
    markdown = FORMATS["markdown"]([found, random])
    line = next(line for line in markdown.splitlines() if line.startswith("| found |"))
    assert line.split(" | ")[-5:-1] == ["4", "0", "0", "200.00"]


def test_the_variance_split_of_rows_with_other_random_vectors(tmp_path):
    rng = np.random.default_rng(1)
    labels = np.repeat([1, 0], 30)
    base, other, plain = (labels[:, None] + rng.normal(size=(60, 3)) for _ in range(3))
    scores = {"trace@t=1": base, "trace@t=1,draw=1": other, "trace": plain, "fixed": plain[:, :1]}
    run = write_run(tmp_path / "run", scores, labels, seeds=(0, 1, 2), unseeded=["fixed"])
    rows = {row["detector"]: row for row in report_rows([run])}
    parts = {
        name: tuple(row[f"variance_{part}"] for part in ("items", "seeds", "probes")) for name, row in rows.items()
    }
    expected = variance_split(base, labels, np.arange(60), probe_draws=other[:, :, None])
    assert parts["trace@t=1"] == pytest.approx((expected.items, expected.seeds, expected.probes))
    assert sum(parts["trace@t=1,draw=1"]) == pytest.approx(1)
    alone = variance_split(plain, labels, np.arange(60))
    assert parts["trace"] == (pytest.approx(alone.items), pytest.approx(alone.seeds), None)
    assert parts["fixed"] == (1, 0, 0)


@pytest.mark.slow
def test_a_score_table_that_is_read_in_pieces_gives_the_same_rows(tmp_path, monkeypatch):
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], 30)
    scores = {"trace@t=1": rng.normal(size=(60, 3)), "trace@t=1,draw=1": rng.normal(size=(60, 3)), "b": labels * 1.0}
    run = write_run(tmp_path / "run", scores, labels, seeds=(0, 1, 2), clusters=[f"c{i // 3}" for i in range(60)])
    runs = [run, OLD_RUN]
    held = report_rows(runs, by_stratum=True)
    monkeypatch.setattr(score_tables, "ROWS_HELD", 0)
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 53)
    monkeypatch.setattr(store, "read_scores", lambda path: pytest.fail("read whole"))
    monkeypatch.setattr(score_tables, "read_scores", lambda path: pytest.fail("read whole"))
    assert json.dumps(report_rows(runs, by_stratum=True)) == json.dumps(held)


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
    titles = [line.strip(" *") for line in FORMATS[form](rows).splitlines() if "effective n" in line]
    assert titles == [
        "small v1: 4 memorized, 4 not, effective n 4, 2 noise seeds, run suite/first",
        f"small v{version}: 4 memorized, 4 not, effective n 4, 2 noise seeds, run suite/second",
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
        assert "small v1, strong: 2 memorized, 4 not, effective n 2, 2 noise seeds" in output
        assert "small v1, weak: 2 memorized, 4 not, effective n 2, 2 noise seeds" in output


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


def test_a_table_says_where_one_draw_moved_all_items(tmp_path):
    """Under shared noise a seed is one draw; with a noise for each item it is one of random vectors alone."""
    labels, scores = np.repeat([1, 0], 10), np.random.default_rng(0).normal(size=(20, 2))
    entry = DetectorEntry(label="a")
    for noise, made, products, draws in [
        ("shared", 1, 0, 1),
        (None, 1, 0, 1),
        ("per-item", 1, 0, None),
        ("per-item", 1, 2, 1),
        ("per-item", 2, 0, 2),
    ]:
        table = pd.DataFrame({"seed": range(made), "jvps": products, "vjps": 0})
        assert draws_of(entry, table, noise) == draws
    for fixed in (entry.model_copy(update={"seeded": False}), entry.model_copy(update={"access": "text"})):
        assert draws_of(fixed, table, "shared") is None
    one = report_rows([write_run(tmp_path / "one", {"a": scores[:, 0]}, labels)])
    two = report_rows([write_run(tmp_path / "two", {"a": scores}, labels, seeds=(0, 1))])
    assert (one[0]["draws"], two[0]["draws"]) == (1, 2)
    assert "1 noise seed (one draw)" in FORMATS["table"](one)
    assert "one draw)" not in FORMATS["table"](two)
    alone = auroc_interval(scores[:, 0], labels, range(20))
    assert (one[0]["auroc_low"], one[0]["auroc_high"]) == (alone.low, alone.high)
    both = auroc_interval(scores.mean(axis=1), labels, range(20), by_seed=scores)
    assert (two[0]["auroc_low"], two[0]["auroc_high"]) == (both.low, both.high)
