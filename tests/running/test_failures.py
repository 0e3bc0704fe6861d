"""A detector's failure is a row; it stops nothing else."""

import math

import pyarrow.compute as pc
import torch

from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detectors
from memdet.results.store import read_scores
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set
from memdet.tables import report_rows


class Raises(Detector):
    info = DetectorInfo(name="raises", title="", access="score", cost="none")

    def score(self, probe):
        raise RuntimeError("a detector's own bug")


class SometimesInfinite(Detector):
    info = DetectorInfo(name="sometimes-infinite", title="", access="score", cost="none")

    def score(self, probe):
        scores = probe.uniform()
        return torch.where(scores < 0.1, torch.inf, scores)


class WrongShape(Detector):
    info = DetectorInfo(name="wrong-shape", title="", access="score", cost="none")

    def score(self, probe):
        return torch.zeros(3)


class Complex(Detector):
    info = DetectorInfo(name="complex", title="", access="score", cost="none")

    def score(self, probe):
        return torch.zeros(len(probe), dtype=torch.complex64)


class Peeks(Detector):
    info = DetectorInfo(name="peeks", title="", access="score", cost="none")

    def score(self, probe):
        return torch.tensor(probe.labels)


def test_statuses(tmp_path):
    good = make_detectors(["random", "prompt-length", "wen2024"], detector_classes())
    detectors = [Raises(), SometimesInfinite(), WrongShape(), Complex(), Peeks(), *good]
    run([load_sample_set("mixture-2d")], detectors, tmp_path / "run", RunOptions(seeds=1), progress=False)
    rows = {row["detector"]: row for row in report_rows([tmp_path / "run"])}
    assert {name: row["status"] for name, row in rows.items()} == {
        "raises": "error",
        "sometimes-infinite": "nonfinite",
        "wrong-shape": "error",
        "complex": "error",
        "peeks": "error",
        "random": "ok",
        "prompt-length": "not-applicable",
        "wen2024": "ok",
    }
    assert rows["raises"]["message"] == "RuntimeError: a detector's own bug"
    assert rows["complex"]["message"] == "TypeError: score() returned complex numbers, which have no order"
    assert "must not see labels" in rows["peeks"]["message"]
    assert "not text" in rows["prompt-length"]["message"]
    assert all(rows[name]["auroc"] is None for name in ("raises", "sometimes-infinite", "prompt-length"))
    assert rows["wen2024"]["auroc"] is not None
    scores = read_scores(tmp_path / "run")
    infinite = scores.filter(pc.equal(scores["detector"], "sometimes-infinite"))
    for row in infinite.to_pylist():
        assert (row["status"] == "nonfinite") == math.isinf(row["score"])
