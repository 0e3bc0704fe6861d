"""The script that times ways to order the work, on a few items."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import forwards
from benchmarks.report import ways_table

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["both-branches", "both-products", "overlap"])
def test_a_record_is_written(way, tmp_path, monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(forwards, "BATCHES", 2)  # one is generated while another is finished
    out = tmp_path / "record.json"
    options = ["--batch-size", "2", "--threads", str(threads), "--rounds", "2", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["forwards", way, *options])
    forwards.main()  # which compares the scores of both ways itself
    record = json.loads(out.read_text())
    (row,) = record["rows"]
    assert (record["what"], row["threads"], row["batch_size"]) == (way, threads, 2)
    low, high = row["ratio_quartiles"]
    assert 0 < low <= row["ratio"] <= high < math.inf


def test_documentation_shows_the_committed_records():
    text = (ROOT / "docs" / "throughput.md").read_text()
    table = text.split("<!-- table: python -m benchmarks.report results/benchmarks -->\n")[1]
    assert table.split("\n<!-- end of table -->")[0] == ways_table(ROOT / "results" / "benchmarks")


@pytest.mark.slow
def test_all_benchmarks_can_be_collected():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks",
        "--collect-only",
        "-q",
        "-n",
        "0",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    for folder in ("curvature/test_products.py", "throughput/test_detectors.py"):
        assert f"benchmarks/{folder}::" in done.stdout
