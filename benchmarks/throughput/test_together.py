"""All detectors of the controlled suite in one run, beside the sum of each alone.

On one sample set every detector is really run alone, which also checks the books: a run charges back to a detector what
another had already computed. With these books the committed run of the whole suite tells the ratio for all its sets.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memdet.detectors import detector_classes, make_detectors
from memdet.running import RunOptions, run
from memdet.samplesets import load_sample_set, load_suite

SAMPLE_SET = "fashion-multi-1"
MOST = 0.5
COMMITTED = Path(__file__).resolve().parents[2] / "results" / "controlled" / "reference" / "run.json"


def test_one_sample_set(benchmark, tmp_path) -> None:
    sample_set = load_sample_set(SAMPLE_SET)
    detectors = make_detectors(load_suite("controlled").detectors, detector_classes())
    options = RunOptions(seeds=1)

    def together():
        return run([sample_set], detectors, tmp_path / "together", options, progress=False)

    run([sample_set], detectors, tmp_path / "warm-up", options, progress=False)  # loads SSCD, which takes seconds once
    manifest = benchmark.pedantic(together, rounds=1)
    books = manifest["seconds"][sample_set.id]
    alone = {}
    for index, detector in enumerate(detectors):
        found = run([sample_set], [detector], tmp_path / str(index), options, progress=False)
        alone[detector.label] = found["seconds"][sample_set.id][detector.label]
    ratio = benchmark.stats.stats.median / sum(alone.values())
    benchmark.extra_info |= {"sample_set": SAMPLE_SET, "ratio": ratio, "alone": alone, "books": books}
    assert ratio <= MOST
    assert sum(books.values()) == pytest.approx(sum(alone.values()), rel=0.15)


def together_over_alone() -> float:
    """Time of the committed run of the suite, in all its processes, over the sum of its detectors' by its books."""
    manifest = json.loads(COMMITTED.read_text())
    alone = sum(sum(of_set.values()) for of_set in manifest["seconds"].values())
    return float(manifest["seconds_total"] * manifest["workers"] / alone)


def test_the_committed_run_of_the_suite() -> None:
    assert together_over_alone() <= MOST
