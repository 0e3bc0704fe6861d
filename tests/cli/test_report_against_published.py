"""``memdet report --against-published`` as a shell sees it."""

import json

import numpy as np
import pytest

from tests.helpers.runs import write_run

LABELS = np.repeat([1, 0], 500)


@pytest.fixture
def run(tmp_path):
    """``jeon2025`` tells all, ``wen2024`` nothing."""
    scores = {"jeon2025": 1.0 * LABELS, "wen2024": np.arange(1000) % 2 * 1.0, "random": np.zeros(1000)}
    about = {"sample_set": "jeon-sd1", "model": "CompVis/stable-diffusion-v1-4", "steps": 50, "guidance": 7.5}
    return write_run(tmp_path / "run", scores, LABELS, access={"random": "none"}, **about)


@pytest.mark.slow
def test_beside_each_row_what_is_published(cli, run):
    code, out, err = cli("report", run, "--against-published")
    assert (code, err) == (0, "")
    assert "jeon-sd1 v1 against published figures" in out
    assert "jeon2025sharpness, arXiv 2412.04140, Table 1" in out
    assert "taken with 4 noise seeds, here 1" in " ".join(out.split())
    rows = json.loads(cli("report", run, "--against-published", "--format", "json")[1])
    compared = {(row["detector"], row["measure"]): row for row in rows if not row["differs"]}
    assert {key: (row["published"], row["measured"], row["agrees"]) for key, row in compared.items()} == {
        ("jeon2025", "auroc"): (0.987, 1.0, False),
        ("jeon2025", "tpr_at_1_fpr"): (0.908, 1.0, False),
        ("wen2024", "auroc"): (0.976, 0.5, False),
        ("wen2024", "tpr_at_1_fpr"): (0.896, 0.0, False),
    }


def test_it_is_a_table_of_its_own(refused, run, tmp_path):
    refused("report", run, "--against-published", "--by-time", words=["table of its own", "--by-time"])
    refused("report", run, "--against-published", "--by-stratum", words=["table of its own", "--by-stratum"])
    refused("report", run, "--against-published", "--format", "latex", words=["latex", "table, json, csv, markdown"])
    refused("report", run, "--against-published", "--format", "html", "--out", tmp_path / "p.html", words=["tables"])


def test_a_run_without_a_counterpart(refused, tmp_path):
    run = write_run(tmp_path / "other", {"wen2024": [0.9, 0.1]}, [1, 0], sample_set="small")
    words = ["nothing of this has a published counterpart", "jeon-sd1, jeon-sd2", "this holds small"]
    refused("report", run, "--against-published", words=words)
