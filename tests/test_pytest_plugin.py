"""The fixture ``memdet_baseline``, in test files of a user."""

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest

from memdet.detectors.methods.wen2024_magnitude import ScoreDifferenceNorm
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set
from tests.helpers.runs import write_run

pytest_plugins = ["pytester"]
PLUGIN = "memdet.pytest_plugin"
INSTALLED = any(point.value == PLUGIN for point in entry_points(group="pytest11"))
LABELS = np.arange(40) % 2
SCORES = np.random.default_rng(0).normal(size=40) + 2 * LABELS


@pytest.fixture
def inside(pytester):
    """Run a test file of a user's."""

    def call(text):
        pytester.makepyfile(text)
        plugin = [] if INSTALLED else ["-p", PLUGIN]
        return pytester.runpytest_subprocess(*plugin, "-p", "no:cacheprovider")

    return call


@pytest.mark.slow
def test_a_run_that_passes_and_one_that_does_not(inside, pytester):
    write_run(pytester.path / "ci" / "baseline", {"good": SCORES, "bad": SCORES}, LABELS)
    write_run(pytester.path / "runs" / "same", {"good": SCORES, "bad": SCORES}, LABELS)
    write_run(pytester.path / "runs" / "worse", {"good": SCORES, "bad": -SCORES}, LABELS)
    result = inside(
        """
        def test_same(memdet_baseline):
            assert memdet_baseline("ci/baseline").check("runs/same").passed

        def test_paths_start_at_the_root_directory(memdet_baseline, monkeypatch):
            monkeypatch.chdir("ci")
            memdet_baseline("ci/baseline").check("runs/same")

        def test_worse(memdet_baseline):
            memdet_baseline("ci/baseline").check("runs/worse")

        def test_the_good_one(memdet_baseline):
            memdet_baseline("ci/baseline").check("runs/worse", detectors=["good"])

        def test_tolerances(memdet_baseline):
            memdet_baseline("ci/baseline", tolerance=1, drift=1e9).check("runs/worse")

        def test_bad_input(memdet_baseline):
            memdet_baseline("ci/nowhere").check("runs/same")
        """
    )
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(
        ["memdet check FAILED (1 drop, 1 drift): *", "drop: bad on made", "memdet check: *nowhere holds no run*"]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*pytest_plugin.py:*")


@pytest.mark.slow
def test_detectors_are_run_on_the_sets_and_seeds_of_the_baseline(inside, pytester):
    place = pytester.path / "ci"
    run(
        [load_sample_set("mixture-2d")],
        [ScoreDifferenceNorm(), ScoreDifferenceNorm(steps=5)],
        place / "baseline",
        RunOptions(seeds=3),
        progress=False,
    )
    result = inside(
        """
        from memdet.detectors.methods.wen2024_magnitude import ScoreDifferenceNorm

        class Flipped(ScoreDifferenceNorm):
            def score(self, probe):
                return -super().score(probe)

        def test_both(memdet_baseline):
            result = memdet_baseline("ci/baseline").check_detectors("wen2024", ScoreDifferenceNorm(steps=5))
            assert [row.drift for row in result.rows] == [0, 0]
            assert result.rows[0].seeds == (0, 1, 2)

        def test_flipped(memdet_baseline):
            memdet_baseline("ci/baseline").check_detectors(Flipped())

        def test_unknown(memdet_baseline):
            memdet_baseline("ci/baseline").check_detectors("wen2025")

        def test_not_in_the_baseline(memdet_baseline):
            memdet_baseline("ci/baseline").check_detectors("wen2024@steps=2")
        """
    )
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        ["drop: wen2024 on mixture-2d", "*unknown detector 'wen2025'*", "*has no detector wen2024@steps=2*"]
    )


def test_the_entry_point_is_declared():
    pyproject = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())
    assert pyproject["project"]["entry-points"]["pytest11"] == {"memdet": PLUGIN}


def test_pytest_alone_loads_nothing_heavy():
    """Whoever merely has memdet installed pays for a module of one fixture."""
    heavy = {"torch", "numpy", "pandas", "pydantic", "click", "memdet.errors"}
    script = f"import pytest, sys, {PLUGIN}\nassert not {heavy!r} & set(sys.modules), {heavy!r} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_where_nothing_is_compared_the_test_fails(inside, pytester):
    write_run(pytester.path / "baseline", {"good": SCORES}, LABELS)
    result = inside(
        """
        def test_no_detectors(memdet_baseline):
            memdet_baseline("baseline").check_detectors()

        def test_no_labels(memdet_baseline):
            memdet_baseline("baseline").check("baseline", detectors=[])
        """
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*no detector is named*", "*nothing to compare with*"])
