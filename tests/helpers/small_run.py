"""Writes finished runs whose metrics are known."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memdet.results import SCHEMA_VERSION, SCORES

# Label, stratum, measured extraction and score of each item: strong separates, weak does not, negatives score 1 to 4.
ITEMS = [
    (0, "once", 0.0, 1.0),
    (0, "once", 0.0, 2.0),
    (0, "once", 0.0, 3.0),
    (0, "once", 0.0, 4.0),
    (1, "strong", 1.0, 9.0),
    (1, "strong", 0.75, 8.0),
    (1, "weak", 0.25, 2.5),
    (1, "weak", 0.125, 1.5),
]


@pytest.fixture
def items():
    return ITEMS


@pytest.fixture
def write_run():
    """Writes a run of one detector, ``found``, and of the control ``random``, which cannot tell anything."""

    def write(directory: Path, *, detector="found", version=1, seeds=2, shift=0.0, detector_version=1, **manifest):
        """Seeds lie 0.8 apart, around the scores of ``ITEMS``; memorized items score ``shift`` more."""
        rows = []
        for label in (detector, "random"):
            for seed in range(seeds):
                for index, (memorized, stratum, extraction, base) in enumerate(ITEMS):
                    score = base + 0.8 * (seed - (seeds - 1) / 2) + memorized * shift
                    rows.append(
                        {
                            "sample_set": "small",
                            "sample_set_version": version,
                            "item_id": f"i{index}",
                            "cluster": f"i{index}",
                            "stratum": stratum,
                            "extraction": extraction,
                            "label": memorized,
                            "detector": label,
                            "detector_version": 1 if label == "random" else detector_version,
                            "seed": seed,
                            "score": 0.0
                            if label == "random"
                            else score + 0.8 * (seed - (seeds - 1) / 2) + memorized * shift,
                            "status": "ok",
                            "forwards": 0.0 if label == "random" else 2.0,
                            "jvps": 0.0,
                            "vjps": 0.0,
                        }
                    )
        directory.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows, schema=SCORES), directory / "scores.parquet")
        settings = {
            "detectors": [{"label": detector, "access": "score"}, {"label": "random", "access": "none"}],
            "sample_sets": [
                {
                    "id": "small",
                    "version": version,
                    "content_hash": f"items {version}",
                    "model_hashes": {"m": "weights"},
                }
            ],
        }
        content = {
            "schema_version": SCHEMA_VERSION,
            "settings": settings,
            "started": "2026-01-01T00:00:00+00:00",
            "seconds": {"small": {detector: 0.8 * seeds, "random": 0.0}},
            "finished": True,
        }
        (directory / "run.json").write_text(json.dumps(content | manifest))
        return directory

    return write
