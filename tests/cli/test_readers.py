"""Commands that only read finished runs import nothing that computes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = "results/quick/reference"
HEAVY = ["torch", "diffusers", "transformers", "datasets", "sklearn"]
READERS = [
    ["report", RUN],
    ["report", RUN, "--by-stratum", "--format", "json"],
    ["report", RUN, "--by-draws"],
    ["compare", RUN, "--against", "wen2024"],
    ["compare", RUN, RUN],
    ["compare", RUN, "--with", "field", "--sets", "mixture-2d", "-d", "wen2024", "--board", "results"],
    ["check", RUN, "--baseline", RUN],
    *(["list", kind] for kind in ("detectors", "mitigations", "samples", "models", "suites")),
    *(["show", name] for name in ("wen2024", "sail2025", "tiny-sd-a-verbatim", "quick", "tiny-sd-a")),
    ["completion", "bash"],
    ["audit", "mixture-2d"],
    ["--version"],
    ["run", "--help"],
    # What is refused is refused before anything heavy is imported.
    ["run"],
    ["run", "no-such-set"],
    ["run", "mixture-2d", "-d", "no-such-detector"],
    ["run", "mixture-2d", "--format", "no-such-format"],
    ["audit"],
    ["audit", "no-such-set"],
    ["mitigate", "no-such-set"],
    ["mitigate", "tiny-sd-a-verbatim", "--method", "no-such-method"],
    ["localize", "no-such-set"],
    ["scan", "--model", "m", "--prompts", "no-such-file.txt"],
    ["bench", "--set", "no-such-set"],
    ["bench", "plan", "--model", "sd-1.4", "--device", "no-such-device"],
    ["show", "nobody"],
]
FITTED = ["audit", "tiny-sd-a-verbatim"]  # last: one of its controls is fitted by scikit-learn
SCRIPT = """
import contextlib, io, json, sys
from memdet.cli import main
found = {}
for arguments in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            main(arguments)
        except SystemExit as stop:
            code = stop.code
    found[" ".join(arguments)] = [code, [name for name in json.loads(sys.argv[2]) if name in sys.modules]]
print(json.dumps(found))
"""


@pytest.mark.slow
def test_readers_import_nothing_that_computes():
    """One process runs them all, one after the other: what the first one imports would be seen at each later one."""
    call = [sys.executable, "-c", SCRIPT, json.dumps([*READERS, FITTED]), json.dumps(HEAVY)]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.pop(" ".join(FITTED)) == [0, ["sklearn"]]
    assert {name: heavy for name, (_, heavy) in found.items() if heavy} == {}
    codes = {name: code for name, (code, _) in found.items()}
    reads = {" ".join(arguments) for arguments in READERS[: READERS.index(["run"])]}
    assert {name for name, code in codes.items() if code == 0} == reads
    assert set(codes.values()) == {0, 2}


def test_runs_are_not_looked_for_on_a_whole_disk(refused, tmp_path, monkeypatch):
    from memdet.leaderboard import board

    monkeypatch.setattr(board, "FOLDERS", 10)
    for number in range(12):
        (tmp_path / "disk" / f"folder-{number}").mkdir(parents=True)
    refused("report", tmp_path / "disk", words=["more than 10 folders", "name a directory that holds runs"])


def test_runs_are_found_outside_hidden_folders_links_and_other_runs(tmp_path):
    from memdet.leaderboard.board import find_runs

    for place in ("b/run", "a", "a/below", ".git/run", "x/node_modules/run"):
        (tmp_path / "root" / place).mkdir(parents=True, exist_ok=True)
        for name in ("run.json", "scores.parquet"):
            (tmp_path / "root" / place / name).touch()
    (tmp_path / "elsewhere" / "run").mkdir(parents=True)
    (tmp_path / "elsewhere" / "run" / "run.json").touch()
    (tmp_path / "elsewhere" / "run" / "scores.parquet").touch()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere")
    assert find_runs(tmp_path / "root") == [tmp_path / "root" / "a", tmp_path / "root" / "b" / "run"]
    assert find_runs(tmp_path / "root" / "a") == [tmp_path / "root" / "a"]
    assert find_runs(tmp_path / "nowhere") == []
