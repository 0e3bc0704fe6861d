"""benchmarks/gpu.sh: its dry run writes every record, and without a GPU it says so in a line."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from benchmarks.gpu import differences
from memdet.detectors import detector_classes
from tests.helpers.source import ROOT

SCRIPT = ROOT / "benchmarks" / "gpu.sh"


def run(*arguments, **environment):
    told = os.environ | {"PYTHON": sys.executable} | environment
    return subprocess.run([str(SCRIPT), *arguments], capture_output=True, text=True, env=told, check=False)


@pytest.mark.slow
def test_the_dry_run_writes_all_records(tmp_path):
    done = run("--dry-run", "--out", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    found = {path.stem.removesuffix("-cpu-dry-run"): json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert set(found) == {"doctor", "quick", "sd-scale", "throughput", "numerics"}
    (row,) = [row for row in found["quick"]["rows"] if row["detector"] == "wen2024"]
    assert row["statuses"] == {"ok": 400}
    assert row["largest_difference"] < 1e-5  # from the committed reference
    rows = {row["detector"].partition("@")[0]: row for row in found["sd-scale"]["rows"]}
    assert set(rows) == {
        name for name, cls in detector_classes().items() if cls.info.task != "image" or not cls.info.is_control
    }
    assert all(set(row["statuses"]) <= {"ok", "not-applicable"} for row in rows.values())
    assert rows["jeon2025"]["jvps"] == 2
    assert {row["detector"] for row in found["throughput"]} >= {"wen2024"}


def test_without_a_gpu_it_says_so():
    done = run(CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "benchmarks/gpu.sh: no CUDA device works here; --dry-run runs the same lines on the CPU\n"


@pytest.mark.parametrize("arguments", [["--dry"], ["--dry-run", "--out"], ["nonsense"]])
def test_wrong_arguments(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_differences_are_those_of_the_same_item_and_seed():
    def rows(scores, statuses):
        count = len(scores)
        same = {"sample_set": "s", "sample_set_version": 1, "detector": "d", "detector_version": 1}
        return pd.DataFrame(
            {**same, "item_id": [f"i{n}" for n in range(count)], "seed": 0, "score": scores, "status": statuses}
        )

    reference = rows([1.0, -4.0, 2.0], ["ok"] * 3)
    found = differences(rows([1.0, -3.0, 99.0, 5.0], ["ok", "ok", "error", "ok"]), reference)
    assert found == {("s", "d"): 0.25}
