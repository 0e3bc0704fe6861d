"""A run goes on with what it was begun with, and counts the time of all its calls."""

import pyarrow.parquet as pq
import pytest

from memdet.errors import UserError
from memdet.results import Run
from memdet.results.shards import Notes, read_shard, write_shard
from memdet.running import description
from tests.faults.conftest import resume
from tests.helpers.runs import read_manifest


def with_version(monkeypatch, package, number):
    real = description.version
    monkeypatch.setattr(description, "version", lambda name: number if name == package else real(name))


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("torch", r"begun with other packages \(torch .*, now 99\.0\), and scores of both would mix: install those"),
        ("numpy", r"begun with other packages \(numpy .*, now 99\.0\)"),
        ("memdet", r"holds a run of other settings \(memdet .*, now 99\.0\)"),
    ],
)
def test_scores_of_two_versions_are_not_mixed(package, words, begun, undisturbed, monkeypatch):
    before = {path.name: path.read_bytes() for path in begun.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        with_version(patch, package, "99.0")
        with pytest.raises(UserError, match=words):
            resume(begun)
    assert {path.name: path.read_bytes() for path in begun.rglob("*") if path.is_file()} == before
    resume(begun)
    assert (begun / "scores.parquet").read_bytes() == undisturbed


def test_a_finished_run_needs_no_packages(whole, undisturbed, monkeypatch):
    with_version(monkeypatch, "torch", "99.0")
    assert resume(whole).manifest.finished
    assert (whole / "scores.parquet").read_bytes() == undisturbed


def test_a_run_without_a_shard_starts_with_any(begun, undisturbed, monkeypatch):
    for shard in (begun / "shards").iterdir():
        shard.unlink()
    with_version(monkeypatch, "torch", "99.0")
    resume(begun)
    assert read_manifest(begun)["packages"]["torch"] == "99.0"
    assert "calls" not in read_manifest(begun)


def test_the_time_of_all_calls_counts(begun):
    started = read_manifest(begun)["started"]
    file = sorted((begun / "shards").iterdir())[1]
    rows, notes = read_any(file)
    assert (notes.call, notes.unit) == (0, file.stem)
    write_shard(file, rows, notes.model_copy(update={"elapsed": 100.0}))
    run = resume(begun)
    first, second = run.manifest.calls
    assert (first.started, first.seconds, run.manifest.started) == (started, 100.0, started)
    assert second.seconds is not None
    assert run.manifest.seconds_total == pytest.approx(100.0 + second.seconds)
    assert Run.load(begun).manifest == run.manifest


def read_any(file):
    notes = Notes.model_validate_json(pq.read_schema(file).metadata[b"memdet"])
    return read_shard(file, notes.unit, notes.settings)
