"""The committed leaderboard is what its command makes of the committed score files."""

from pathlib import Path

import pytest

from memdet.cli import main
from memdet.leaderboard.board import find_runs
from memdet.leaderboard.entry import Entry, check_files

RESULTS = Path(__file__).resolve().parents[2] / "results"
RUNS = find_runs(RESULTS)


@pytest.mark.slow
def test_leaderboard_is_made_of_the_committed_runs(tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(RESULTS), "--leaderboard", "--out", str(tmp_path)])
    assert not stop.value.code
    made = sorted(path.name for path in tmp_path.iterdir())
    assert made == sorted(path.name for path in RESULTS.glob("leaderboard.*"))
    for name in made:
        again = "memdet leaderboard"
        assert (tmp_path / name).read_bytes() == (RESULTS / name).read_bytes(), f"{name} is stale: run `{again}`"


@pytest.mark.slow
@pytest.mark.parametrize("run", RUNS, ids=[str(run.relative_to(RESULTS)) for run in RUNS])
def test_committed_runs_hold_every_item_with_its_label(run):
    failed = {f.check: f.detail for f in check_files(Entry(run)) if f.status == "failed"}
    assert not {"sample sets", "items", "labels"} & set(failed), failed
