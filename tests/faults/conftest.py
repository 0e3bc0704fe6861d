"""A run that was interrupted, and the same one undisturbed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memdet.running import scoring
from tests.faults.small import small_run

UNITS_DONE = 3


def interrupted(out: Path) -> Path:
    """A run of four units that was interrupted in the last one."""
    real, seen = scoring.score_items, set()

    def stop(model, items, detector, probe):
        seen.add(items.ids[0])
        if len(seen) > UNITS_DONE:
            raise KeyboardInterrupt
        return real(model, items, detector, probe)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "score_items", stop)
        with pytest.raises(KeyboardInterrupt):
            resume(out)
    return out


def resume(out: Path):
    """The call that makes the run, or goes on with it."""
    return small_run(out, seeds=1, batch_size=100)


@pytest.fixture(scope="session")
def _stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    resume(folder / "whole")
    return folder, interrupted(folder / "begun")


@pytest.fixture
def whole(_stored, tmp_path) -> Path:
    """A finished run that a test may change."""
    return Path(shutil.copytree(_stored[0] / "whole", tmp_path / "whole"))


@pytest.fixture
def begun(_stored, tmp_path) -> Path:
    """A run of which three of four units are done."""
    return Path(shutil.copytree(_stored[1], tmp_path / "begun"))


@pytest.fixture
def undisturbed(_stored) -> bytes:
    """The scores that every run must end with."""
    return (_stored[0] / "whole" / "scores.parquet").read_bytes()
