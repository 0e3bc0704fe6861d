"""Several processes share the units of a run."""

from __future__ import annotations

import os
import pickle
import select
import signal
import subprocess
import sys

import pytest

from memdet.detectors import detector_classes, make_detector, make_detectors
from memdet.errors import UserError
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set
from tests.helpers.runs import read_manifest

PLUGIN = '''
from memdet import Detector, DetectorInfo


class Late(Detector):
    """The score difference at one step."""

    info = DetectorInfo(name="late", title="late", access="score", cost="2 F")
    step: int = 2

    def score(self, probe):
        if self.step < 0:
            import os, signal
            os.kill(os.getpid(), signal.SIGKILL)
        x = probe.trajectory().state(self.step)
        return probe.difference(x, probe.trajectory().timesteps[self.step]).flatten(1).norm(dim=1)
'''


@pytest.fixture
def classes(tmp_path):
    path = tmp_path / "late.py"
    path.write_text(PLUGIN)
    return detector_classes([path])


def test_detectors_travel_between_processes(classes):
    for label in ("wen2024@steps=5", "lhsd@c=0.5", "jeon2025@power=1", "late@step=3"):
        assert pickle.loads(pickle.dumps(make_detector(label, classes))).label == label


@pytest.mark.slow
def test_groups_of_units_give_the_same_scores(tmp_path, classes):
    """With many seeds the batches of a seed stay in one process."""
    sets, detectors = [load_sample_set("mixture-2d")], make_detectors(["curvature-gap", "prompt-ngram"], classes)
    alone, together = tmp_path / "alone", tmp_path / "together"
    for target, workers in ((alone, 1), (together, 2)):
        run(sets, detectors, target, RunOptions(batch_size=100, seeds=9, workers=workers), progress=False)
    assert (alone / "scores.parquet").read_bytes() == (together / "scores.parquet").read_bytes()


@pytest.mark.slow
def test_processes_write_the_same_scores_and_end_with_one_line_when_killed(tmp_path, classes):
    sets = [load_sample_set("mixture-2d")]
    detectors = make_detectors(["wen2024@steps=5", "late@step=1", "hessian-trace", "random", "prompt-ngram"], classes)
    alone, together = tmp_path / "alone", tmp_path / "together"
    run(sets, detectors, alone, RunOptions(batch_size=30), progress=False)
    run(sets, detectors, together, RunOptions(batch_size=30, workers=2), progress=False)
    assert (alone / "scores.parquet").read_bytes() == (together / "scores.parquet").read_bytes()
    manifest = read_manifest(together)
    assert manifest["settings"] == read_manifest(alone)["settings"]
    assert (manifest["workers"], manifest["threads"]) == (2, max(1, os.cpu_count() // 2))
    assert set(manifest["seconds"]["mixture-2d"]) == {detector.label for detector in detectors}
    assert manifest["messages"]["mixture-2d"]["prompt-ngram"]

    killed = make_detectors(["late@step=-1"], classes)
    with pytest.raises(UserError, match="a worker process ended by SIGKILL.*memory.*the same command resumes"):
        run(sets, killed, tmp_path / "killed", RunOptions(batch_size=100, workers=2), progress=False)
    assert not (tmp_path / "killed" / "scores.parquet").exists()


WAITING = """
import os, signal
from memdet import Detector, DetectorInfo


class Waiting(Detector):
    info = DetectorInfo(name="waiting", title="", access="score", cost="0 F")

    def score(self, probe):
        line = os.open(os.environ["LINE"], os.O_WRONLY)  # stays open as long as this process lives
        os.write(line, f"{os.getpid()}\\n".encode())
        signal.pause()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a named pipe")
def test_workers_end_when_their_caller_is_killed(tmp_path):
    plugin, line = tmp_path / "waiting.py", tmp_path / "line"
    plugin.write_text(WAITING)
    os.mkfifo(line)
    reader = os.open(line, os.O_RDONLY | os.O_NONBLOCK)
    arguments = ["run", "mixture-2d", "--plugin", plugin, "--detector", "waiting", "--seeds", "1", "--quiet"]
    arguments += ["--batch-size", "100", "--workers", "2", "--out", tmp_path / "run"]
    caller = subprocess.Popen([sys.executable, "-m", "memdet", *arguments], env={**os.environ, "LINE": str(line)})

    def read():
        ready, _, _ = select.select([reader], [], [], 120)
        return os.read(reader, 4096) if ready else None

    said = b""
    try:
        while said.count(b"\n") < 2:
            more = read()
            assert more, "the workers did not start"
            said += more
        caller.kill()
        assert read() == b"", "a worker outlives its caller"  # the end of the pipe: nobody holds it any more
    finally:
        caller.kill()
        caller.wait()
        os.close(reader)
        for process in said.split():
            try:
                os.kill(int(process), signal.SIGKILL)
            except ProcessLookupError:
                continue
