"""pytest plugin: the fixture ``memdet_baseline`` holds a run, or detectors, against a baseline run.

    def test_accuracy(memdet_baseline):
        memdet_baseline("ci/baseline").check("runs/quick")

    def test_my_detector(memdet_baseline):
        memdet_baseline("ci/baseline").check_detectors(MyDetector(), "wen2024")

pytest loads this module wherever memdet is installed, so it imports nothing else before the fixture is used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from memdet.detectors import Detector
    from memdet.gate.check import GateResult
    from memdet.samplesets import SampleSet


class Baseline:
    """A baseline run that tests compare with; the fixture makes it.

    Args:
        path: Its directory.
        root: What relative paths start at.
        scratch: Makes directories for runs.
        tolerance, alpha, drift: As for ``memdet check``; None takes its defaults.
    """

    def __init__(
        self,
        path: Path,
        root: Path,
        scratch: pytest.TempPathFactory,
        tolerance: float | None,
        alpha: float | None,
        drift: float | None,
    ) -> None:
        self.path = path
        self._root, self._scratch = root, scratch
        given = {"tolerance": tolerance, "alpha": alpha, "drift": drift}
        self._options = {name: value for name, value in given.items() if value is not None}

    def check(self, run: str | Path, *, detectors: Sequence[str] | None = None) -> GateResult:
        """Fail the test, with the text of ``memdet check``, if the run does not pass.

        Args:
            run: Directory of a finished run; a relative one starts at pytest's root directory.
            detectors: Labels to compare; None takes all of the baseline.

        Returns:
            What the gate found, if the run passes.
        """
        __tracebackhide__ = True
        from memdet.errors import UserError
        from memdet.gate.check import check_run
        from memdet.gate.text import to_table

        try:
            result = check_run(self._root / run, self.path, detectors=detectors, **self._options)
        except UserError as error:
            pytest.fail(f"memdet check: {error}", pytrace=False)
        if not result.passed:
            pytest.fail(to_table(result), pytrace=False)
        return result

    def check_detectors(
        self,
        *detectors: Detector | str,
        sample_sets: Sequence[SampleSet | str | Path] | None = None,
        device: str | None = None,
    ) -> GateResult:
        """Run detectors on the baseline's sample sets and seeds, and compare them alone.

        Args:
            detectors: Instances, or what the command line takes: ``"wen2024@steps=5"``; at least one.
            sample_sets: Those of the baseline: loaded, ids, or paths of specs; None finds them by id.
            device: Where the models compute; None takes the baseline's.

        Returns:
            What the gate found, if it passes.
        """
        __tracebackhide__ = True
        from memdet.errors import UserError

        if not detectors:
            pytest.fail("memdet run: no detector is named, so nothing would be compared", pytrace=False)
        out = self._scratch.mktemp("memdet") / "run"
        try:
            labels = self._run(detectors, sample_sets, device, out)
        except UserError as error:
            pytest.fail(f"memdet run: {error}", pytrace=False)
        return self.check(out, detectors=labels)

    def _run(
        self,
        detectors: Sequence[Detector | str],
        sample_sets: Sequence[SampleSet | str | Path] | None,
        device: str | None,
        out: Path,
    ) -> list[str]:
        """Make a run with the seeds and the precision of the baseline; give the detectors' labels."""
        import torch

        from memdet.detectors import Detector, detector_classes, make_detector
        from memdet.results import Manifest
        from memdet.running import RunOptions, run
        from memdet.samplesets import SampleSet, load_sample_set

        settings = Manifest.read(self.path).settings
        entries = settings.sample_sets
        classes = detector_classes()
        made = [d if isinstance(d, Detector) else make_detector(d, classes) for d in detectors]
        named = sample_sets or [entry.id for entry in entries]
        sets = [s if isinstance(s, SampleSet) else load_sample_set(s) for s in named]
        # Closed forms are in float64 whatever the option says.
        dtype = next((entry.dtype for entry in entries if entry.dtype != "float64"), "float64")
        options = RunOptions(
            seeds=max(entry.seeds for entry in entries),
            device=device or settings.device or "cpu",
            dtype=getattr(torch, dtype),
        )
        run(sets, made, out, options, command="pytest: memdet_baseline", progress=False)
        return [detector.label for detector in made]


@pytest.fixture(scope="session")
def memdet_baseline(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Baseline]:
    """Give a baseline run to compare with: ``memdet_baseline("ci/baseline").check("runs/quick")``.

    Takes the run's directory (a relative one starts at pytest's root directory) and, as keywords, ``tolerance``,
    ``alpha`` and ``drift`` of ``memdet check``.
    """

    def baseline(
        path: str | Path,
        *,
        tolerance: float | None = None,
        alpha: float | None = None,
        drift: float | None = None,
    ) -> Baseline:
        root = pytestconfig.rootpath
        return Baseline(root / path, root, tmp_path_factory, tolerance, alpha, drift)

    return baseline
