"""What is said where several processes cannot do a run: the cause that there was, and no other."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import textwrap

import pytest

from memdet import Detector, DetectorInfo
from memdet.detectors import detector_classes, make_detectors
from memdet.errors import UserError
from memdet.running import RunOptions, run
from memdet.running.ending import why_ended
from memdet.running.workers import check_workers
from memdet.samplesets import load_sample_set

SCRIPT = """
import sys
from pathlib import Path
from memdet import Detector, DetectorInfo
from memdet.detectors import detector_classes, make_detectors
from memdet.errors import UserError
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set


class Own(Detector):
    '''Of a script.'''

    info = DetectorInfo(name="own", title="own", access="samples", cost="0 F")

    def score(self, probe):
        return probe.uniform()


def main(out, *names):
    options = RunOptions(seeds=1, workers=2, batch_size=200)
    detectors = [Own() if name == "own" else make_detectors([name], detector_classes())[0] for name in names]
    try:
        found = run([load_sample_set("mixture-2d")], detectors, Path(out), options, progress=False)
    except UserError as error:
        print("refused:", error)
    else:
        print("scores:", len(found.score_rows()))

"""
CALL = "main(*sys.argv[1:])\n"
GUARDED = f'if __name__ == "__main__":\n    {CALL}'


def said(tmp_path, script, *names, stdin=False):
    """The last line that a script prints."""
    file = tmp_path / "script.py"
    file.write_text(script)
    arguments = [sys.executable, "-" if stdin else str(file), str(tmp_path / "run"), *names]
    result = subprocess.run(arguments, input=script if stdin else "", capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stdout + result.stderr
    return result.stdout.splitlines()[-1]


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_so(tmp_path):
    message = said(tmp_path, SCRIPT + CALL, "own")
    assert message.startswith("refused: a worker process ended where the script calls memdet again")
    assert 'put what it runs under `if __name__ == "__main__":`' in message
    assert "memory" not in message


@pytest.mark.slow
@pytest.mark.parametrize(("script", "names", "stdin"), [(GUARDED, ["own"], False), (CALL, ["wen2024"], True)])
def test_a_script_with_a_guard_and_standard_input(tmp_path, script, names, stdin):
    assert said(tmp_path, SCRIPT + script, *names, stdin=stdin) == "scores: 400"


@pytest.mark.slow
def test_a_detector_that_lives_at_a_prompt_alone(tmp_path):
    message = said(tmp_path, SCRIPT + CALL, "own", stdin=True)
    assert message.startswith("refused: detector own is defined in a notebook, at a prompt or on standard input")
    assert "give its file as a plugin; or take one worker" in message


@pytest.mark.parametrize(
    ("statuses", "words"),
    [
        ([-signal.SIGKILL, -signal.SIGTERM], ["SIGKILL", "memory is used up, or somebody did", "fewer `workers`"]),
        ([-signal.SIGTERM, -signal.SIGSEGV], ["SIGSEGV", "a crash of compiled code"]),
        ([-signal.SIGTERM, -signal.SIGTERM], ["SIGTERM, which somebody sent"]),
        ([None, 0, 3], ["status 3, and said why on standard error"]),
        ([-signal.SIGTERM, 86], ['under `if __name__ == "__main__":`']),
        ([None], ["left no status"]),
    ],
)
def test_how_a_process_ended(statuses, words):
    message = why_ended(statuses)
    assert message.startswith("a worker process ended")
    for part in words:
        assert part in message
    assert ("memory" in message) == (-signal.SIGKILL in statuses)


class Holding(Detector):
    """Holds something beside its options."""

    info = DetectorInfo(name="holding", title="holding", access="samples", cost="0 F")

    def __init__(self, held, **options):
        super().__init__(**options)
        self._held = held

    def score(self, probe):
        return self._held * probe.uniform()


def test_what_cannot_be_made_again_elsewhere_is_refused_before_anything_starts(tmp_path):
    class Local(Holding):
        """Of a function."""

        info = DetectorInfo(name="local", title="local", access="samples", cost="0 F")

    check_workers([Holding(3)])
    options = RunOptions(workers=2)
    for detector, words in ((Local(3), "define it at the top level of a file"), (Holding(lambda: 3), "what it holds")):
        with pytest.raises(UserError, match=words) as caught:
            run([load_sample_set("mixture-2d")], [detector], tmp_path / "run", options, progress=False)
        assert str(caught.value).startswith(f"detector {detector.label} cannot be made again in other processes")
        assert not (tmp_path / "run").exists()


def test_a_process_that_may_start_no_others(monkeypatch):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with pytest.raises(UserError, match="daemonic worker of another pool"):
        check_workers([])


PLUGIN = """
import multiprocessing
from memdet import Detector, DetectorInfo

{start}


class Mine(Detector):
    '''Of a plugin.'''

    info = DetectorInfo(name="mine", title="mine", access="samples", cost="0 F")

    def score(self, probe):
        return probe.uniform()
"""


def run_plugin(tmp_path, start):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN.format(start=textwrap.dedent(start)))
    detectors = make_detectors(["mine"], detector_classes([path]))
    options = RunOptions(seeds=1, workers=2, batch_size=200)
    return run([load_sample_set("mixture-2d")], detectors, tmp_path / "run", options, progress=False)


@pytest.mark.slow
def test_a_plugin_that_cannot_be_loaded_in_a_worker(tmp_path):
    start = """
    if multiprocessing.parent_process() is not None:
        raise OSError("its file is not here")
    """
    with pytest.raises(UserError, match=r"mine.py cannot be loaded: OSError: its file is not here"):
        run_plugin(tmp_path, start)


@pytest.mark.slow
def test_attributes_travel_with_a_detector(tmp_path):
    """A worker that made it of its options alone would score something else."""
    sets = [load_sample_set("mixture-2d")]
    alone, together = (
        run(sets, [Holding(3)], tmp_path / str(n), RunOptions(seeds=1, workers=n, batch_size=100), progress=False)
        for n in (1, 2)
    )
    assert alone.score_rows().equals(together.score_rows())
