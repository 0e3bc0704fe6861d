"""A run whose score table does not hold together is refused in one line, and every run that memdet made is not."""

import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import memdet
from memdet.cli import main
from memdet.errors import UserError
from memdet.results import SCORES, Manifest, Run, checks, scores
from memdet.results.store import read_scores
from tests.helpers.runs import write_run

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = sorted(file.parent for file in (ROOT / "results").rglob("scores.parquet"))
STORED = sorted(file.parent for file in (Path(__file__).parent / "stored").rglob("scores.parquet"))
LABELS = [1, 1, 1, 0, 0, 0]
GOOD = np.array([[5.0, 4.0], [4.0, 4.0], [1.0, 2.0], [3.0, 1.0], [0.0, 1.0], [0.5, 0.0]])


@pytest.fixture
def directory(tmp_path):
    """Two detectors under two seeds, and a control whose scores do not depend on the seed."""
    found = {"good": GOOD, "bad": -GOOD, "text": GOOD[:, 0]}
    return write_run(tmp_path / "run", found, LABELS, seeds=(0, 1), access={"text": "text"}, unseeded=("text",))


@pytest.fixture
def damage(directory):
    """Changes the score table: the function is given a data frame and may return another."""

    def change(edit):
        frame = read_scores(directory).to_pandas()
        changed = edit(frame)
        table = pa.Table.from_pandas(frame if changed is None else changed, schema=SCORES, preserve_index=False)
        pq.write_table(table, directory / "scores.parquet")
        return table

    return change


def put(column, value, row=13):
    """Row 13 is that of ``bad``, item 1, seed 0."""

    def edit(frame):
        frame[column] = frame[column].astype(object)
        frame.loc[row, column] = value

    return edit


def nameless(frame):
    frame.loc[frame["item_id"] == "item-001", "label"] = None


ROW = "made v1, bad, item item-001, seed 0"
DAMAGE = {
    "no set": (put("sample_set", None), ["sample_set is missing in the row of ? v1, bad, item item-001, seed 0"]),
    "no version": (put("sample_set_version", None), ["sample_set_version is missing in the row of made v?, bad"]),
    "no item": (put("item_id", None), ["item_id is missing in the row of made v1, bad, item ?, seed 0"]),
    "no cluster": (put("cluster", None), [f"cluster is missing in the row of {ROW}"]),
    "no stratum": (put("stratum", None), [f"stratum is missing in the row of {ROW}"]),
    "no detector": (put("detector", None), ["detector is missing in the row of made v1, ?, item item-001"]),
    "no detector version": (put("detector_version", None), [f"detector_version is missing in the row of {ROW}"]),
    "no seed": (put("seed", None), ["seed is missing in the row of made v1, bad, item item-001, seed ?"]),
    "no status": (put("status", None), [f"status is missing in the row of {ROW}"]),
    "row twice": (lambda f: pd.concat([f, f.iloc[[13]]]), [f"the row of {ROW} is there more than once"]),
    "row twice, one below the other": (
        lambda f: f.loc[np.sort(np.r_[f.index, 13])],
        [f"the row of {ROW} is there more than once"],
    ),
    "item of another name": (
        lambda f: put("item_id", "item-002")(f) or put("cluster", "item-002")(f),
        ["made v1, bad, item item-002, seed 0", "more than once"],
    ),
    "seed of another number": (put("seed", 1), ["made v1, bad, item item-001, seed 1", "more than once"]),
    "label": (put("label", 2), [f"label of {ROW} is 2, not 0 or 1"]),
    "another label": (put("label", 0), [f"label of {ROW} is 0, but 1 in another row of the item"]),
    "a row without label": (put("label", None), [f"label of {ROW} is missing, but 1 in another row of the item"]),
    "an item without label": (nameless, ["made v1, item item-001 has no label, though other items have one"]),
    "cluster": (put("cluster", "x"), [f"cluster of {ROW} is x, but item-001 in another row of the item"]),
    "stratum": (put("stratum", "x"), [f"stratum of {ROW} is x, but "]),
    "extraction": (put("extraction", 0.5), [f"extraction of {ROW} is 0.5, but missing in another row of the item"]),
    "large extraction": (lambda f: f.assign(extraction=1.5), ["extraction of made v1, good", "is 1.5, not between"]),
    "missing row": (lambda f: f.drop(13), ["made v1, bad has no row of item item-001, seed 0"]),
    "missing row of a control": (lambda f: f.drop(25), ["made v1, text has no row of item item-001, seed 0"]),
    "additional item": (
        lambda f: pd.concat([f, f.iloc[[13]].assign(item_id="new")]),
        ["made v1, good has no row of item new, seed 0"],
    ),
    "seed of some items": (
        lambda f: f[(f["detector"] != "good") | (f["seed"] == 0) | (f["item_id"] != "item-004")],
        ["made v1, good has no row of item item-004, seed 1"],
    ),
    "seeds of what has none": (
        lambda f: pd.concat([f, f[f["detector"] == "text"].assign(seed=1)]),
        ["made v1, text has rows of seeds 0 and 1, though its scores do not depend on it"],
    ),
    "status": (put("status", "fine"), [f"status 'fine' of {ROW} is none of ok, error, nonfinite, not-applicable"]),
    "ok without a score": (put("score", np.nan), [f"score of {ROW} is missing, though its status is ok"]),
    "ok with an infinite score": (put("score", np.inf), [f"score of {ROW} is inf, though its status is ok"]),
    "ok with a missing score": (put("score", None), [f"score of {ROW} is missing, though its status is ok"]),
    "error with a score": (put("status", "error"), [f"score of {ROW} is -4.0, though its status is not ok"]),
    "negative cost": (put("forwards", -1.0), [f"forwards of {ROW} is -1.0"]),
    "infinite cost": (put("jvps", np.inf), [f"jvps of {ROW} is inf"]),
    "missing cost": (put("vjps", None), [f"vjps of {ROW} is missing"]),
    "unknown detector": (put("detector", "other"), ["it has rows of detector other on made v1"]),
    "no rows": (lambda f: f.iloc[:0], ["it holds no scores"]),
    "another version": (lambda f: f.assign(sample_set_version=2), ["it has rows of made v2, run.json says v1"]),
    "two versions": (
        put("sample_set_version", 2),
        ["sample set made is there in version 1 and in version 2"],
    ),
    "another set": (put("sample_set", "other"), ["it has rows of sample set other, which run.json does not name"]),
    "a name that moves the cursor": (put("status", "a\nb\x1b[2J"), [r"status 'a\nb\x1b[2J'"]),
}
IN_MEMORY = [  # what rows of several runs may do
    *("extraction", "seeds of what has none", "another version", "two versions", "another set"),
]


@pytest.mark.parametrize("name", DAMAGE)
@pytest.mark.parametrize("held", [True, False], ids=["held", "in pieces"])
def test_damage_is_named(name, held, directory, damage, monkeypatch):
    edit, words = DAMAGE[name]
    if not held:
        monkeypatch.setattr(scores, "ROWS_HELD", 0)
        monkeypatch.setattr(checks, "ROWS_AT_ONCE", 5)
    damage(edit)
    with pytest.raises(UserError) as caught:
        Run.load(directory)
    told = str(caught.value)
    assert "\n" not in told
    assert all(word in told for word in [str(directory / "scores.parquet"), "make the run again", *words]), told


@pytest.mark.parametrize("name", [name for name in DAMAGE if name not in IN_MEMORY])
def test_damage_in_memory_is_named(name, directory, damage):
    manifest = Run.load(directory).manifest
    edit, words = DAMAGE[name]
    with pytest.raises(UserError) as caught:
        Run.from_tables(manifest, damage(edit), name="mine")
    assert all(word in str(caught.value) for word in ["the score table of mine", *words]), caught.value


@pytest.mark.slow
@pytest.mark.parametrize("command", ["report", "compare", "check"])
@pytest.mark.parametrize("name", ["no seed", "row twice", "an item without label", "missing row", "no rows", "status"])
def test_commands_end_with_one_line(command, name, directory, damage, capsys):
    damage(DAMAGE[name][0])
    baseline = ["--baseline", str(COMMITTED[0])] if command == "check" else []
    with pytest.raises(SystemExit) as stop:
        main([command, str(directory), *baseline])
    printed, told = capsys.readouterr()
    assert stop.value.code == 2
    assert printed == ""
    assert len(told.splitlines()) == 1
    assert "scores.parquet is damaged" in told


def test_a_leaderboard_of_an_empty_table(directory, damage, capsys):
    damage(lambda frame: frame.iloc[:0])
    with pytest.raises(SystemExit) as stop:
        main(["report", str(directory.parent), "--leaderboard"])
    assert stop.value.code == 2
    assert "it holds no scores" in capsys.readouterr().err


@pytest.mark.parametrize("path", [*COMMITTED, *STORED], ids=lambda path: "/".join(path.parts[-3:]))
def test_what_memdet_made_is_read(path, monkeypatch):
    whole = Run.load(path)
    assert whole.n_scores == pq.read_metadata(path / "scores.parquet").num_rows
    monkeypatch.setattr(scores, "ROWS_HELD", 0)
    assert Run.load(path).sets == whole.sets


def test_rows_in_any_order_are_read(directory, damage, monkeypatch):
    monkeypatch.setattr(checks, "ROWS_AT_ONCE", 7)
    expected = {row["detector"]: row["auroc"] for row in Run.load(directory).table}
    damage(lambda frame: frame.sample(frac=1, random_state=3))
    assert {row["detector"]: row["auroc"] for row in Run.load(directory).table} == pytest.approx(expected)


def test_sets_that_take_turns_are_told_apart(directory, damage):
    content = json.loads((directory / "run.json").read_text())
    content["settings"]["sample_sets"].append({"id": "other"})
    (directory / "run.json").write_text(json.dumps(content))
    damage(lambda frame: pd.concat([frame, frame.assign(sample_set="other")]).sample(frac=1, random_state=3))
    assert {key: sum(of_set.rows.values()) for key, of_set in Run.load(directory).sets.items()} == {
        ("made", 1): 30,
        ("other", 1): 30,
    }


def test_a_detector_that_failed_is_read(directory, damage):
    damage(lambda f: f.assign(score=f["score"].mask(f["detector"] == "bad")))
    with pytest.raises(UserError, match="is missing, though its status is ok"):
        Run.load(directory)
    damage(lambda f: f.assign(status=np.where(f["detector"] == "bad", "error", "ok")))
    assert {row["detector"]: row["status"] for row in Run.load(directory).table}["bad"] == "error"


def test_a_table_of_many_items_and_seeds_is_refused_without_room_for_all(directory, damage, monkeypatch):
    monkeypatch.setattr(checks, "_ALWAYS_MARKED", 0)
    damage(lambda frame: frame.assign(seed=np.arange(len(frame))))
    with pytest.raises(UserError, match="made v1 does not have every item for each of its 30 detectors and seeds"):
        Run.load(directory)


def test_checking_takes_little():
    """Of a run with 154,801 rows, well under a second."""
    path = ROOT / "results" / "controlled" / "reference"
    seconds = {True: [], False: []}
    for checked in (True, False) * 3:
        start = time.process_time()
        Run.load(path, checked=checked)
        seconds[checked].append(time.process_time() - start)
    assert min(seconds[True]) - min(seconds[False]) < 0.5


MANIFESTS = {
    "no version": ('{"settings": {"detectors": []}}', ["run.json lacks schema_version"]),
    "no settings": ('{"schema_version": 2}', ["run.json lacks settings"]),
    "no detectors": ('{"schema_version": 2, "settings": {}}', ["run.json lacks settings.detectors"]),
    "version 0": ('{"schema_version": 0, "settings": {"detectors": []}}', ["schema_version is 0, not a whole number"]),
    "version true": ('{"schema_version": true, "settings": {"detectors": []}}', ["schema_version is true, not a"]),
    "version as text": ('{"schema_version": "2", "settings": {"detectors": []}}', ['schema_version is "2", not a']),
    "a list": ("[1]", ["it holds a list, not an object"]),
    "null": ("null", ["it holds null, not an object"]),
    "settings of another kind": ('{"schema_version": 2, "settings": [1]}', ["field settings: "]),
    "no end": ("[" * 200_000, ["within each other without end"]),
    "empty": ("", ["Expecting value"]),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_damaged_manifests_are_named(name, directory):
    content, words = MANIFESTS[name]
    (directory / "run.json").write_text(content)
    with pytest.raises(UserError) as caught:
        Run.load(directory)
    told = str(caught.value)
    assert "\n" not in told
    assert all(word in told for word in ["run.json is damaged", "make the run again", *words]), told


def finished(directory, value):
    content = json.loads((directory / "run.json").read_text()) | {"finished": value}
    (directory / "run.json").write_text(json.dumps(content))


def test_a_detector_that_is_named_twice(directory):
    content = json.loads((directory / "run.json").read_text())
    content["settings"]["detectors"] *= 2
    (directory / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="the run names detector good more than once"):
        Run.load(directory)


def test_scores_of_an_unfinished_run_are_refused(directory):
    finished(directory, False)
    with pytest.raises(UserError, match=r"holds an unfinished run: resume it with the command in its run\.json"):
        Run.load(directory)


def test_a_finished_run_that_lost_its_scores_is_told(directory):
    (directory / "scores.parquet").unlink()
    with pytest.raises(UserError, match=r"scores\.parquet is missing, though run\.json says that it is finished"):
        Run.load(directory)
    finished(directory, False)
    with pytest.raises(UserError, match="holds an unfinished run: resume"):
        Run.load(directory)


@pytest.mark.parametrize("name", ["run.json", "scores.parquet"])
def test_a_file_of_a_run_is_not_its_directory(name, directory):
    with pytest.raises(UserError) as caught:
        memdet.load_run(directory / name)
    assert f"name the directory, {directory}" in str(caught.value)


@pytest.mark.parametrize("given", [3, None, b"run", ["run"], "~nobody-of-this-name/run"], ids=repr)
@pytest.mark.parametrize("read", [memdet.load_run, Run.of, Run.load])
def test_what_is_no_path_is_no_run(read, given):
    with pytest.raises(UserError, match="is no run: give a run directory"):
        read(given)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: table.drop_columns(["seed"]), "other columns: give sample_set, "),
        (lambda table: table.select(SCORES.names[::-1]), "in this order"),
        (lambda table: table.append_column("more", table["seed"]), "other columns"),
        (lambda table: table.to_pandas(), "is a DataFrame: give an Arrow table"),
        (lambda table: None, "is None: give an Arrow table"),
        (lambda table: table.set_column(9, "seed", table["item_id"]), "a column of another type"),
    ],
)
def test_tables_of_another_form_are_refused(change, words, directory):
    run = Run.load(directory)
    with pytest.raises(UserError, match=words):
        Run.from_tables(run.manifest, change(read_scores(directory)))


@pytest.mark.parametrize("manifest", [None, {}, "run.json"])
def test_a_run_needs_a_manifest(manifest, directory):
    with pytest.raises(UserError, match="`manifest` is .*: give a Manifest"):
        Run.from_tables(manifest, read_scores(directory))
    with pytest.raises(UserError, match="it has rows of detector good on made v1, which the run does not name"):
        Run.from_tables(Manifest(), read_scores(directory))


def test_wrong_questions_are_refused(directory):
    run = Run.load(directory)
    for ask, words in (
        (lambda: run.tables(("made", 1), "none"), "no memorized items of stratum 'none': its strata are "),
        (lambda: run.tables("made"), r"no sample set 'made': name one with its version, \('made', 1\)"),
        (lambda: run.tables(("made", 2)), "no sample set"),
        (lambda: run.tables(["made", 1]), "no sample set"),
        (lambda: run.score_rows("score"), r"`columns` is a text: give a list of names, \['score'\]"),
        (lambda: run.score_rows(["nope"]), "no column 'nope': they have sample_set"),
        (lambda: run.compare("good", "good"), "good cannot be compared with itself: name two"),
        (lambda: run.compare(directory), r"no label of a detector: give one, or another run as memdet\.load_run"),
        (lambda: run.compare("good", 3), "3 is no label of a detector"),
        (lambda: run.roc("good").at(-1), "`fpr` is -1: a false positive rate is a number between 0 and 1"),
        (lambda: run.roc("good").at([0.5, 1.5]), "`fpr` is 1.5"),
        (lambda: run.roc("good").at(float("nan")), "`fpr` is nan"),
        (lambda: run.roc("good").at("half"), "`fpr` is 'half': give numbers"),
    ):
        with pytest.raises(UserError, match=words):
            ask()


def test_runs_with_nothing_in_common_are_not_compared(directory, tmp_path):
    other = write_run(tmp_path / "other", {"else": GOOD}, LABELS, seeds=(0, 1), sample_set="elsewhere")
    with pytest.raises(UserError, match="nothing in .* can be compared: not in"):
        Run.load(directory).compare(Run.load(other))


def test_what_a_run_gives_out_is_the_callers_own(directory):
    run = Run.load(directory)
    assert run.table is run.table
    assert run.table() is run.table
    for name in ("scores", "items"):
        first = getattr(run, name)
        expected = first.copy()
        first.iloc[:, 0] = 7
        pd.testing.assert_frame_equal(getattr(run, name), expected)


def test_scores_whose_sum_is_beyond_the_largest_number(directory, damage):
    ranks = {row["detector"]: row["auroc"] for row in Run.load(directory).table}
    damage(lambda frame: frame.assign(score=frame["score"] * 3e307))
    run = Run.load(directory)
    with np.errstate(over="ignore", invalid="ignore"):
        assert {row["detector"]: row["auroc"] for row in run.table} == pytest.approx(ranks)
        assert [row["first_auroc"] for row in run.compare("good", "bad")] == pytest.approx([ranks["good"]])
