"""The script that times ways to order the work, on a few items."""

import json
import math

import pytest
import torch

from benchmarks import forwards
from memdet.probing import evaluations


@pytest.mark.parametrize("way", ["both-branches", "overlap"])
def test_a_record_is_written(way, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluations, "joins_branches", evaluations.joins_branches)  # which the script changes
    threads = torch.get_num_threads()
    out = tmp_path / "record.json"
    options = ["--batch-size", "2", "--threads", str(threads), "--rounds", "3", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["forwards", way, *options])
    forwards.main()  # which compares the scores of both ways itself
    record = json.loads(out.read_text())
    (row,) = record["rows"]
    assert (record["what"], row["threads"], row["batch_size"]) == (way, threads, 2)
    low, high = row["ratio_quartiles"]
    assert 0 < low <= row["ratio"] <= high < math.inf
