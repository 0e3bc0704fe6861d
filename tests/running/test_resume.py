"""Runs that are killed and taken up again; runs that must not be continued."""

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys

import pytest

from memdet.cli import main
from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detectors
from memdet.errors import UserError
from memdet.models import load_model
from memdet.running import RunOptions, run, scoring
from memdet.samplesets import load_sample_set
from tests.helpers.runs import read_manifest

LAST = re.compile(rb"\| *(\d+)/(\d+) ")


def kill_after(arguments, out, units):
    """Start a run and SIGKILL it once its progress bar has counted ``units``; False if it was faster."""
    command = [sys.executable, "-m", "memdet", "run", *arguments, "--out", str(out)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    seen = b""
    while chunk := os.read(process.stderr.fileno(), 4096):
        seen += chunk
        if any(int(done) >= units for done, _ in LAST.findall(seen)):
            process.send_signal(signal.SIGKILL)
            break
    process.stderr.close()
    return process.wait() == -signal.SIGKILL


@pytest.fixture
def prompts(tmp_path):
    frame = load_sample_set("tiny-sd-a-verbatim").items.groupby("label").head(10)
    path = tmp_path / "prompts.jsonl"
    lines = [json.dumps({"prompt": row.condition, "memorized": int(row.label)}) for row in frame.itertuples()]
    path.write_text("\n".join(lines))
    return path


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["closed form", "network"])
def test_killed_and_resumed_run_gives_the_same_bytes(kind, tmp_path, prompts):
    detectors = ["--detector", "wen2024@steps=5", "--detector", "jeon2025", "--detector", "random"]
    if kind == "closed form":
        arguments = ["mixture-2d", "--seeds", "2", "--batch-size", "16", *detectors]
        points = random.Random(7).sample(range(1, 40), 2)  # of 50 units
    else:
        arguments = ["--model", "tiny-sd-a", "--samples", str(prompts), "--seeds", "2", "--batch-size", "3", *detectors]
        arguments += ["--detector", "curvature-gap"]
        points = [random.Random(8).randrange(1, 10)]  # of 14 units
    killed = [kill_after(arguments, tmp_path / "killed", point) for point in sorted(points)]
    assert any(killed)
    assert not (tmp_path / "killed" / "scores.parquet").exists()
    for out in ("killed", "straight"):
        with pytest.raises(SystemExit) as stop:
            main(["run", *arguments, "--out", str(tmp_path / out)])
        assert not stop.value.code
    first, second = ((tmp_path / out / "scores.parquet").read_bytes() for out in ("killed", "straight"))
    assert first == second
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == [
        "items.parquet",
        "run.json",
        "scores.parquet",
    ]


def small_run(out, names=("wen2024", "random"), **options):
    detectors = make_detectors(names, detector_classes())
    return run([load_sample_set("mixture-2d")], detectors, out, RunOptions(seeds=1, **options), progress=False)


def test_complete_rows_are_never_computed_twice(tmp_path, monkeypatch):
    small_run(tmp_path / "run", batch_size=100)
    before = (tmp_path / "run" / "scores.parquet").stat().st_mtime_ns
    monkeypatch.setattr(scoring, "score_items", lambda *_: pytest.fail("computed again"))
    assert small_run(tmp_path / "run", batch_size=100).manifest.finished
    assert (tmp_path / "run" / "scores.parquet").stat().st_mtime_ns == before


def test_an_interruption_loses_the_shard_in_flight_alone(tmp_path, monkeypatch):
    real, calls = scoring.score_items, []

    def stop_at_third_batch(model, items, detector, probe):
        calls.append(items.ids[0])
        if len(set(calls)) == 3:
            raise KeyboardInterrupt
        return real(model, items, detector, probe)

    monkeypatch.setattr(scoring, "score_items", stop_at_third_batch)
    with pytest.raises(KeyboardInterrupt):
        small_run(tmp_path / "run", batch_size=100)
    assert len(list((tmp_path / "run" / "shards").glob("*.parquet"))) == 2
    calls.clear()
    monkeypatch.setattr(scoring, "score_items", lambda *a: (calls.append(a[1].ids[0]), real(*a))[1])
    small_run(tmp_path / "run", batch_size=100)
    assert len(set(calls)) == 2


@pytest.mark.parametrize("change", [{"names": ("wen2024",)}, {"batch_size": 50}])
def test_other_settings_are_refused(tmp_path, change):
    small_run(tmp_path / "run", batch_size=100)
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(UserError, match="other settings"):
        small_run(tmp_path / "run", **({"batch_size": 100} | change))
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_directory_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="other files"):
        small_run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_manifest_says_what_where_and_with_which_versions(tmp_path):
    small_run(tmp_path / "run")
    manifest = read_manifest(tmp_path / "run")
    assert manifest["settings"]["sample_sets"][0]["content_hash"] == load_sample_set("mixture-2d").content_hash
    assert {"torch", "diffusers", "memdet"} <= set(manifest["packages"])
    assert {"command", "git_revision", "threads", "attention", "started"} <= set(manifest)
    assert set(manifest["seconds"]["mixture-2d"]) == {"wen2024", "random"}


class Everywhere(Detector):
    """Asks for both branches on the whole set at once."""

    info = DetectorInfo(name="everywhere", title="everywhere", access="score", cost="2 F", whole_set=True)

    def score(self, probe):
        return probe.difference(probe.noise, probe.timesteps[0]).flatten(1).norm(dim=1)


@pytest.mark.slow
def test_what_the_whole_set_shared_changes_no_batch(tmp_path, monkeypatch):
    """A continued run has not seen it."""
    sample_set = load_sample_set("tiny-sd-a-verbatim")
    sample_set = dataclasses.replace(sample_set, items=sample_set.items.groupby("label").head(10))
    detectors = [Everywhere(), *make_detectors(["wen2024", "curvature-gap"], detector_classes())]
    model = load_model("tiny-sd-a")

    def scores(name):
        options = RunOptions(seeds=1, batch_size=6)
        run([sample_set], detectors, tmp_path / name, options, models={"tiny-sd-a": model}, progress=False)
        return (tmp_path / name / "scores.parquet").read_bytes()

    with monkeypatch.context() as patch:
        real = scoring.score_items

        def stop(model, items, detector, probe):
            if detector.label == "wen2024":
                raise KeyboardInterrupt
            return real(model, items, detector, probe)

        patch.setattr(scoring, "score_items", stop)
        with pytest.raises(KeyboardInterrupt):
            scores("continued")
    assert scores("continued") == scores("straight")
