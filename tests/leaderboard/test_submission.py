"""An entry that is good, and every way to spoil it."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memdet.cli import main
from memdet.errors import UserError
from memdet.leaderboard import submission_recompute
from memdet.leaderboard.submission import check_entry, place_of
from memdet.samplesets import load_sample_set

PLUGIN = """
from memdet import Detector, DetectorInfo


class Late(Detector):
    info = DetectorInfo(name="late", title="the score difference at a late step", access="score", cost="2 (step + 1) F")
    step: int = 3

    def score(self, probe):
        trajectory = probe.trajectory()
        x = trajectory.state(self.step)
        return probe.difference(x, trajectory.timesteps[self.step]).flatten(1).norm(dim=1)
"""
SETS = ["mixture-2d", "tiny-sd-a-narrow"]


@pytest.fixture(scope="session")
def good(tmp_path_factory):
    """A run of a detector of memdet and one of a plugin, and the plugin."""
    directory = tmp_path_factory.mktemp("entry")
    plugin = directory / "late.py"
    plugin.write_text(PLUGIN)
    arguments = [
        *SETS,
        "--detector",
        "wen2024",
        "--detector",
        "late",
        "--plugin",
        str(plugin),
        "--seeds",
        "1",
        "--quiet",
    ]
    with pytest.raises(SystemExit) as stop:
        main(["run", *arguments, "--quiet", "--out", str(directory / "mine")])
    assert stop.value.code == 0
    return directory / "mine", plugin


@pytest.fixture
def entry(good, tmp_path):
    return shutil.copytree(good[0], tmp_path / "mine")


@pytest.fixture
def failures(entry, good, monkeypatch):
    """The lines of the checks that fail; the contract has tests of its own below."""
    monkeypatch.setattr("memdet.leaderboard.submission_recompute.validate", lambda detector: [])

    def find():
        return [f"{f.check}: {f.detail}" for f in check_entry(entry, [good[1]]) if f.status == "failed"]

    return find


@pytest.fixture
def change_run(entry):
    """Changes a copy of run.json in place: the function is given its content."""

    def change(edit):
        content = json.loads((entry / "run.json").read_text())
        edit(content)
        (entry / "run.json").write_text(json.dumps(content))

    return change


@pytest.fixture
def change_scores(entry):
    """Changes the score table: the function is given a data frame and may return another."""

    def change(edit):
        file = entry / "scores.parquet"
        schema = pq.read_schema(file)
        table = pq.read_table(file).to_pandas()
        changed = edit(table)
        pq.write_table(pa.Table.from_pandas(table if changed is None else changed, schema, preserve_index=False), file)

    return change


@pytest.mark.slow
def test_a_good_entry_passes_every_check(good):
    findings = check_entry(good[0], [good[1]])
    assert {finding.status for finding in findings} <= {"passed", "skipped"}
    assert [finding.check for finding in findings if not finding.check.startswith("contract")] == [
        "files",
        "sample sets",
        "detectors",
        "controls",
        "items",
        "labels",
        "scores",
        "models",
        "scores again",
    ]
    assert sum(finding.check == "contract of late" for finding in findings) == 6


@pytest.mark.slow
def test_where_no_score_can_be_computed_again_nothing_passes(good, monkeypatch):
    def gone(name, **_):
        raise UserError(f"{name} is not here")

    monkeypatch.setattr(submission_recompute, "load_model", gone)
    monkeypatch.setattr(submission_recompute, "validate", lambda detector: [])
    found = [f"{f.check}: {f.detail}" for f in check_entry(good[0], [good[1]]) if f.status == "failed"]
    assert len(found) == 1
    assert found[0].startswith("scores again: no score could be computed again, so that nothing is known of them")


@pytest.mark.slow
def test_the_detectors_of_a_batch_share_its_evaluations(good, monkeypatch):
    made = []

    class Noted(submission_recompute.Probe):
        def __init__(self, model, items, *arguments, **options):
            made.append((model.name, tuple(items.ids)))
            super().__init__(model, items, *arguments, **options)

    monkeypatch.setattr(submission_recompute, "Probe", Noted)
    monkeypatch.setattr(submission_recompute, "validate", lambda detector: [])
    check_entry(good[0], [good[1]])
    for name in SETS:
        known = set(load_sample_set(name).items["item_id"])
        assert any(known.issuperset(ids) for _, ids in made)
    assert len(made) == len(set(made))  # one of a few items for each set, and one of all for prompt-ngram


RUN = {
    "unfinished": (lambda run: run.update(finished=False), ["files: ", "unfinished", "resume"]),
    "old schema": (lambda run: run.update(schema_version=1), ["files: ", "schema version 1", "run the entry again"]),
    "no time": (lambda run: run.pop("started"), ["files: ", "started"]),
    "seeds as text": (
        lambda run: run["settings"]["sample_sets"][0].update(seeds="1"),
        ["files: ", "settings.sample_sets.0.seeds"],
    ),
    "unknown set": (
        lambda run: run["settings"]["sample_sets"][0].update(id="mine"),
        ["sample sets: mine v1", "memdet list sets"],
    ),
    "old version": (
        lambda run: run["settings"]["sample_sets"][0].update(version=7),
        ["sample sets: mixture-2d v7", "of this memdet, v1"],
    ),
    "other data": (
        lambda run: run["settings"]["sample_sets"][0].update(content_hash="0" * 64),
        ["sample sets: mixture-2d v1", "content hash 000000000000"],
    ),
    "other protocol": (
        lambda run: run["settings"]["sample_sets"][1].update(guidance=1.0),
        ["sample sets: tiny-sd-a-narrow v1", "guidance is 1.0", "says 2.0"],
    ),
    "low precision": (
        lambda run: run["settings"]["sample_sets"][1].update(dtype="bfloat16"),
        ["sample sets: tiny-sd-a-narrow v1", "bfloat16", "--dtype float32"],
    ),
    "unknown detector": (
        lambda run: run["settings"]["detectors"][-1].update(label="later"),
        ["detectors: unknown detector 'later'", "--plugin"],
    ),
    "old detector": (
        lambda run: run["settings"]["detectors"][-1].update(version=0),
        ["detectors: late: version is 0, here it is 1"],
    ),
    "other access": (
        lambda run: run["settings"]["detectors"][-1].update(access="samples"),
        ["detectors: late: access is samples, here it is score"],
    ),
    "control left out": (
        lambda run: run["settings"]["detectors"].pop(
            next(i for i, d in enumerate(run["settings"]["detectors"]) if d["label"] == "prompt-ngram")
        ),
        ["controls: control prompt-ngram is missing"],
    ),
    "seed left out": (
        lambda run: run["settings"]["sample_sets"][0].update(seeds=2),
        ["items: mixture-2d, wen2024: 400 of 800 rows are missing", "seed 1"],
    ),
    "no reason": (
        lambda run: run["messages"].clear(),
        ["scores: mixture-2d, prompt-case: not-applicable is said of a whole set and with a reason"],
    ),
    "other weights": (
        lambda run: run["settings"]["sample_sets"][1].update(model_hashes={"tiny-sd-a": "0" * 64}),
        ["models: tiny-sd-a-narrow: the model tiny-sd-a is not that of this memdet"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_changed_run(name, change_run, failures):
    edit, words = RUN[name]
    change_run(edit)
    lines = failures()
    assert any(all(word in line for word in words) for line in lines), lines
    assert all("\n" not in line for line in lines)


def of(table, detector="late", sample_set="tiny-sd-a-narrow"):
    return (table["detector"] == detector) & (table["sample_set"] == sample_set)


def set_first(table, column, value, **where):
    table.loc[table.index[of(table, **where)][0], column] = value


SCORES = {
    "item left out": (
        lambda t: t.drop(t.index[of(t)][0]),
        ["items: tiny-sd-a-narrow, late: 1 of 150 rows are missing (item tsd-", "seed 0"],
    ),
    "item twice": (
        lambda t: t.loc[np.sort(np.r_[t.index, t.index[of(t)][0]])],
        ["items: tiny-sd-a-narrow, late: 1 of 150 rows are there more than once"],
    ),
    "item of the dev split": (
        lambda t: set_first(t, "item_id", "tsd-99999"),
        ["items: tiny-sd-a-narrow, late: 1 of 150 rows are not in the sample set's test split"],
    ),
    "detector left out of one set": (
        lambda t: t[~of(t)],
        ["items: tiny-sd-a-narrow, late: 150 of 150 rows are missing"],
    ),
    "control left out of one set": (
        lambda t: t[~of(t, "prompt-ngram")],
        ["items: tiny-sd-a-narrow, prompt-ngram: 150 of 150 rows are missing"],
    ),
    "label": (
        lambda t: set_first(t, "label", 1 - t.loc[of(t), "label"].iloc[0]),
        ["labels: tiny-sd-a-narrow, late: label of item tsd-", "the sample set says"],
    ),
    "cluster": (
        lambda t: set_first(t, "cluster", "one"),
        ["labels: tiny-sd-a-narrow, late: cluster of", "is one"],
    ),
    "stratum": (lambda t: set_first(t, "stratum", "x"), ["labels: tiny-sd-a-narrow, late: stratum of item", "is x"]),
    "extraction": (lambda t: set_first(t, "extraction", 0.123), ["tiny-sd-a-narrow, late: extraction", ".123"]),
    "status": (lambda t: set_first(t, "status", "fine"), ["scores: tiny-sd-a-narrow, late: status 'fine' is none of"]),
    "error": (
        lambda t: set_first(t, "status", "error"),
        ["scores: tiny-sd-a-narrow, late: 1 rows are error", "mend the detector"],
    ),
    "not-applicable to hard items": (
        lambda t: set_first(t, "status", "not-applicable"),
        ["scores: tiny-sd-a-narrow, late: not-applicable is said of a whole set"],
    ),
    "not a number": (
        lambda t: set_first(t, "score", float("nan")),
        ["scores: tiny-sd-a-narrow, late: the score of item tsd-", "does not fit its status"],
    ),
    "no seed": (
        lambda t: set_first(t, "seed", None),
        ["files: ", "seed is missing in the row of tiny-sd-a-narrow v1, late"],
    ),
    "cost": (lambda t: set_first(t, "forwards", -1.0), ["scores: tiny-sd-a-narrow, late: a cost is negative"]),
    "other detector version": (
        lambda t: set_first(t, "detector_version", 2),
        ["detectors: scores.parquet has rows of late in version 2, run.json says 1"],
    ),
    "other set version": (
        lambda t: set_first(t, "sample_set_version", 2),
        ["sample sets: scores.parquet has rows of tiny-sd-a-narrow v2"],
    ),
    "rows of another detector": (
        lambda t: set_first(t, "detector", "later"),
        ["detectors: scores.parquet has rows of later, which run.json does not name"],
    ),
    "better scores": (
        lambda t: t.assign(score=t["score"].where(~of(t), t["score"] + 50 * t["label"])),
        ["scores again: tiny-sd-a-narrow, late: item tsd-", "with seed 0 scores", "raise the version"],
    ),
    "a weaker control": (
        lambda t: t.assign(score=t["score"].where(~of(t, "prompt-ngram"), 0.0)),
        ["scores again: tiny-sd-a-narrow, prompt-ngram: item tsd-"],
    ),
    "a control that is said not to apply": (
        lambda t: t.assign(
            score=t["score"].where(~of(t, "prompt-case"), float("nan")),
            status=t["status"].where(~of(t, "prompt-case"), "not-applicable"),
        ),
        ["scores: tiny-sd-a-narrow, prompt-case: not-applicable is said of a whole set and with a reason"],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCORES)
def test_changed_scores(name, change_scores, failures):
    edit, words = SCORES[name]
    change_scores(edit)
    lines = failures()
    assert any(all(word in line for word in words) for line in lines), lines
    assert all("\n" not in line for line in lines)


def test_a_control_that_is_said_not_to_apply_with_a_reason(change_scores, change_run, failures):
    change_scores(SCORES["a control that is said not to apply"][0])
    change_run(lambda run: run["messages"].update({"tiny-sd-a-narrow": {"prompt-case": ["no letters"]}}))
    (line,) = failures()
    assert line.startswith("scores again: tiny-sd-a-narrow, prompt-case: item tsd-")
    assert "is not-applicable, here ok" in line


@pytest.mark.parametrize("edit", [lambda t: t.drop(columns="stratum"), lambda t: t.assign(note="x")])
def test_columns_of_another_kind(edit, entry, failures):
    file = entry / "scores.parquet"
    edit(pq.read_table(file).to_pandas()).to_parquet(file, index=False)
    (line,) = failures()
    assert line.startswith("files: ")
    assert "stratum" in line or "note" in line


@pytest.mark.parametrize("file", ["run.json", "scores.parquet"])
def test_a_file_that_is_missing_or_damaged(file, entry, failures):
    (entry / file).write_text("PAR1 or {")
    assert len(failures()) == 1
    (entry / file).unlink()
    (line,) = failures()
    assert "run.json" in line


def test_many_mistakes_of_one_kind_are_counted(change_scores, failures):
    change_scores(lambda t: t.assign(cluster="one"))
    lines = [line for line in failures() if line.startswith("labels")]
    assert len(lines) == 6
    assert lines[-1].endswith("more of this kind")


@pytest.mark.slow
def test_a_plugin_that_breaks_the_contract(entry, good, tmp_path):
    broken = tmp_path / "late.py"
    broken.write_text(PLUGIN.replace('cost="2 (step + 1) F"', 'cost="2 F"'))
    failed = [finding for finding in check_entry(entry, [broken]) if finding.status == "failed"]
    assert [finding.check for finding in failed] == ["contract of late"]
    assert failed[0].detail.startswith("cost: declared")


def test_without_its_plugin_an_entry_is_not_known(good):
    failed = [finding.detail for finding in check_entry(good[0]) if finding.status == "failed"]
    assert len(failed) == 1
    assert "--plugin" in failed[0]


def test_a_plugin_that_is_no_plugin(good, tmp_path):
    with pytest.raises(UserError, match=r"none\.py does not exist"):
        check_entry(good[0], [tmp_path / "none.py"])


def test_place_of_an_entry(tmp_path):
    run = tmp_path / "mine"
    assert str(place_of(run, "memdet run --suite quick", ["mixture-2d"])) == "quick/mine"
    assert str(place_of(run, "memdet.evaluate", ["mixture-2d", "tiny-sd-a-verbatim"])) == "quick/mine"
    assert str(place_of(run, "memdet run x", ["tiny-sd-swap"])) == "controlled/mine"
    with pytest.raises(UserError, match="no suite has all of mine"):
        place_of(run, "memdet run --suite quick", ["mine"])
