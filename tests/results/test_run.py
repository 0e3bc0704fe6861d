"""A run as one object: what it holds, from a directory and from memory, and what is made of it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

import memdet
from memdet.detectors import DetectorInfo, registry
from memdet.detectors.methods.wen2024_magnitude import ScoreDifferenceNorm
from memdet.errors import UserError
from memdet.results import SCORES, DetectorEntry, Manifest, Run, Settings, scores, store
from memdet.results.store import read_scores
from tests.helpers.runs import write_run

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "results" / "quick" / "reference"
OLD = Path(__file__).parent / "stored" / "run-v1"
LABELS = [1, 1, 1, 0, 0, 0]
GOOD = np.array([[5.0, 4.0], [4.0, 4.0], [1.0, 2.0], [3.0, 1.0], [0.0, 1.0], [0.5, 0.0]])
TEXT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


@pytest.fixture
def directory(tmp_path):
    """Two detectors under two seeds, and a control whose scores do not depend on the seed."""
    found = {"good": GOOD, "bad": -GOOD, "text": TEXT}
    path = write_run(
        tmp_path / "suite" / "run", found, LABELS, seeds=(0, 1), access={"text": "text"}, unseeded=("text",)
    )
    frame = read_scores(path).to_pandas()
    kept = frame[(frame["detector"] != "text") | (frame["seed"] == 0)]
    pa.parquet.write_table(pa.Table.from_pandas(kept, schema=SCORES, preserve_index=False), path / "scores.parquet")
    return path


@pytest.fixture(params=["loaded", "in memory"])
def run(request, directory):
    loaded = Run.load(directory)
    if request.param == "loaded":
        return loaded
    return Run.from_tables(loaded.manifest, read_scores(directory), name=loaded.name)


def test_scores_are_a_row_an_item_and_seed_and_a_column_a_detector(run):
    assert run.scores.columns.tolist() == ["good", "bad", "text"]
    assert run.scores.index.names == ["sample_set", "item_id", "seed"]
    assert run.scores.shape == (12, 3)
    assert run.scores.loc[("made", "item-000", 1), "good"] == 4.0
    assert run.scores.loc[("made", "item-002", 0), "bad"] == -1.0
    assert run.scores.loc[("made", "item-003")]["text"].tolist() == [4.0, 4.0]  # of every seed
    assert not run.scores.isna().any().any()


def test_items_have_their_labels(run):
    assert run.items.loc["made"]["label"].tolist() == LABELS
    assert run.items.loc[("made", "item-004"), "cluster"] == "item-004"


def test_the_same_table_from_a_directory_and_from_memory(run, directory):
    expected = Run.load(directory).table.to_pandas().drop(columns="run")
    pd.testing.assert_frame_equal(run.table.to_pandas().drop(columns="run"), expected)
    by_name = {row["detector"]: row for row in run.table()}
    assert by_name["good"]["auroc"] == pytest.approx(roc_auc_score(LABELS, GOOD.mean(axis=1)))
    assert by_name["bad"]["auroc"] == pytest.approx(1 - by_name["good"]["auroc"])
    assert by_name["good"]["best_control"] == "text"


@pytest.mark.slow
def test_a_curve_is_that_of_scikit_learn(run):
    found = run.roc("good")
    fpr, tpr, thresholds = roc_curve(LABELS, GOOD.mean(axis=1), drop_intermediate=False)
    np.testing.assert_allclose(found.fpr, fpr)
    np.testing.assert_allclose(found.tpr, tpr)
    np.testing.assert_allclose(found.thresholds[1:], thresholds[1:])
    assert found.auroc.value == pytest.approx(roc_auc_score(LABELS, GOOD.mean(axis=1)))
    assert found.at([0.0, 0.34, 1.0]).tolist() == [tpr[fpr <= rate + 1e-12].max() for rate in (0.0, 0.34, 1.0)]
    axes = found.plot()
    assert axes.get_title() == "made"
    assert axes.lines[0].get_ydata().tolist() == found.tpr.tolist()


def test_what_a_run_does_not_hold_is_said(run):
    with pytest.raises(UserError, match="no detector wen2024 on made: it has good, bad, text"):
        run.roc("wen2024")
    with pytest.raises(UserError, match="no sample set other: it has made"):
        run.roc("good", "other")
    with pytest.raises(UserError, match="no detector wen2024"):
        run.compare("wen2024", "good")
    with pytest.raises(UserError, match="format 'pdf' is not known: table"):
        run.table.to_text("pdf")


def test_a_pair_is_compared_alone_and_as_among_all(run):
    (row,) = run.compare("good", "bad")
    assert (row["first"], row["second"]) == ("good", "bad")
    assert row["difference"] == pytest.approx(row["first_auroc"] - row["second_auroc"])
    assert row["p_adjusted"] == row["p"]
    among = next(other for other in run.compare() if {other["first"], other["second"]} == {"good", "bad"})
    assert abs(among["difference"]) == pytest.approx(abs(row["difference"]))
    assert among["p"] == pytest.approx(row["p"])
    assert among["p_adjusted"] >= among["p"]
    assert {other["second"] for other in run.compare("text")} == {"text"}


def test_a_run_is_compared_with_another_run(run, directory):
    same = run.compare(Run.load(directory))
    assert [row["difference"] for row in same] == [0.0, 0.0, 0.0]
    with pytest.raises(UserError, match="leave out the second"):
        run.compare(Run.load(directory), "good")


def test_the_page_is_text_and_a_file(run, tmp_path):
    text = run.to_html(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == text
    assert text.startswith("<!doctype html>")


def test_it_shows_itself(run):
    assert repr(run) == f"Run({run.name!r}: 1 sample set, 3 detectors, 30 scores)"
    assert "good" in repr(run.table)
    assert "<table" in run._repr_html_()
    assert len(run.table) == 3
    assert run.table["auroc"].tolist() == [row["auroc"] for row in run.table]
    assert run.table[0]["detector"] == "good"
    assert "RocCurve(good on made: AUROC" in repr(run.roc("good"))


def test_a_large_table_is_read_in_pieces_and_says_the_same(directory, monkeypatch):
    whole = Run.load(directory)
    monkeypatch.setattr(scores, "ROWS_HELD", 0)
    pieces = Run.load(directory)
    assert pieces.table.rows == whole.table.rows
    pd.testing.assert_frame_equal(pieces.scores, whole.scores)


@pytest.mark.parametrize("held", [0, 4, 1_000_000])
def test_rows_of_a_set_are_found_whatever_else_is_read(tmp_path, monkeypatch, held):
    """Three sets that change within groups of rows; the middle one alone is spread over several groups."""
    rows = pd.read_parquet(REFERENCE / "scores.parquet").head(23)
    rows["sample_set"] = ["first"] * 5 + ["middle"] * 13 + ["the last"] * 5
    (tmp_path / "run.json").write_text((REFERENCE / "run.json").read_text())
    monkeypatch.setattr(store, "ROWS_AT_ONCE", 4)
    store.write_table(pa.Table.from_pandas(rows, schema=SCORES, preserve_index=False), tmp_path / "scores.parquet")
    version = rows["sample_set_version"][0]
    for name, count in (("first", 2), ("middle", 4), ("the last", 2)):
        assert sum(1 for _ in store.scan_scores(tmp_path, ["score"], name)) == count  # pieces, of six
    monkeypatch.setattr(scores, "ROWS_HELD", held)
    stored = scores.RunScores(tmp_path)
    for name, part in rows.groupby("sample_set", sort=False):
        found = pd.concat(scores.ScoreTables(stored, name, version, part["detector"].value_counts().to_dict()).values())
        assert sorted(found["item_id"] + found["detector"]) == sorted(part["item_id"] + part["detector"])
        assert set(found["sample_set"]) == {name}


def test_several_sets_ask_for_a_name():
    run = memdet.load_run(REFERENCE)
    with pytest.raises(UserError, match="several sample sets: name one of mixture-2d, tiny-sd-a-verbatim"):
        run.roc("wen2024")
    assert run.roc("wen2024", "tiny-sd-a-verbatim").auroc.value == pytest.approx(0.916, abs=5e-4)


def test_version_1_is_read():
    run = Run.load(OLD)
    stored = json.loads((OLD / "run.json").read_text())["settings"]["sample_sets"][0]
    assert run.manifest.schema_version == 1
    assert run.manifest.sample_set("mixture-2d").model_hashes == {"mixture-2d": stored["model_hash"]}
    assert run.items["extraction"].isna().all()
    assert {row["sample_set"] for row in run.table} == {"mixture-2d", "tiny-sd-a-verbatim"}


class Renamed(ScoreDifferenceNorm):
    """A detector that was called something else."""

    info = DetectorInfo(name="renamed", title="", access="score", cost="2 steps F", aliases=("good", "older"))


def test_labels_of_old_runs_are_those_of_today(directory, monkeypatch):
    real = registry.detector_classes
    monkeypatch.setattr(registry, "detector_classes", lambda plugins=(): real(plugins) | {"renamed": Renamed})
    manifest = json.loads((directory / "run.json").read_text())
    manifest["seconds"] = {"made": {"good": 12.0}}
    manifest["messages"] = {"made": {"good": ["it said so"]}}
    (directory / "run.json").write_text(json.dumps(manifest))
    run = Run.load(directory)
    assert [entry.label for entry in run.detectors] == ["renamed", "bad", "text"]
    assert run.scores.columns.tolist() == ["renamed", "bad", "text"]
    (row,) = [row for row in run.table if row["detector"] == "renamed"]
    assert (row["seconds_per_item"], row["message"]) == (1.0, "it said so")
    assert run.roc("renamed").auroc.value == pytest.approx(roc_auc_score(LABELS, GOOD.mean(axis=1)))
    classes = registry.detector_classes()
    assert registry.make_detector("older@steps=5", classes).label == "renamed@steps=5"


def test_a_manifest_is_written_as_it_is_read(tmp_path):
    manifest = Manifest(
        settings=Settings(detectors=[DetectorEntry(label="a", access="none")], device="cpu"),
        packages={"torch": "2"},
        halved={"set": 4},
        messages={"set": {"a": ["why"]}},
    )
    manifest.write(tmp_path)
    assert Manifest.read(tmp_path) == manifest
    (tmp_path / "run.json").write_text('{"schema_version": 2, "settings": {"detectors": [{"access": "none"}]}}')
    with pytest.raises(UserError, match=r"run\.json is damaged: field settings\.detectors\.0\.label: Field required"):
        Manifest.read(tmp_path)


READERS = [
    ["report", str(REFERENCE)],
    ["report", str(REFERENCE), "--by-stratum", "--format", "csv"],
    ["report", str(REFERENCE), "--format", "latex"],
    ["check", str(REFERENCE), "--baseline", str(REFERENCE)],
    ["compare", str(REFERENCE), "--against", "wen2024"],
    ["list", "detectors"],
    ["list", "models"],
    ["list", "samples"],
    ["list", "suites"],
]
PROGRAM = """
import sys
from memdet.cli import main

try:
    main(sys.argv[1:])
except SystemExit as stop:
    heavy = sorted({"torch", "diffusers", "transformers", "datasets"} & set(sys.modules))
    print("heavy:", heavy, "code:", stop.code, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("arguments", READERS, ids=" ".join)
def test_readers_import_no_torch(arguments):
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.strip().splitlines()[-1] == "heavy: [] code: 0", done.stderr
    assert done.stdout
