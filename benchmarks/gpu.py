"""What benchmarks/gpu.sh needs beside the command line: a pipeline of random weights, and records of runs.

python -m benchmarks.gpu --make stable_diffusion DIR
python -m benchmarks.gpu RUN RECORD [--baseline RUN]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pandas as pd

from memdet.io_utils import write_text
from memdet.results import Run
from memdet.tables import rows_of
from studies.sd_scale import measure

MACHINE = ("git_revision", "started", "packages", "python", "platform", "processor", "cores", "attention")
COSTS = ("seconds_per_item", "forwards", "jvps", "vjps", "auroc", "message")
ITEM = ["sample_set", "sample_set_version", "detector", "detector_version", "item_id", "seed"]


def make(shape: str, directory: Path) -> None:
    """Write ``model`` and ``samples.jsonl``, for ``memdet run --model --samples``."""
    measure.make_pipeline(getattr(measure, shape)(), directory / "model")
    measure.write_samples(directory / "samples.jsonl", 2)


def record(run: Run, baseline: Run | None = None) -> dict:
    """A row a sample set and detector: how its scores came out and what they cost, and how far from a baseline."""
    manifest, scores = run.manifest, run.score_rows()
    moved = {} if baseline is None else differences(scores, baseline.score_rows())
    statuses = scores.groupby(["sample_set", "detector"])["status"].value_counts()
    rows = []
    for row in rows_of(run):
        place = (row["sample_set"], row["detector"])
        found = {"statuses": statuses[place].to_dict(), "largest_difference": moved.get(place)}
        rows.append({"sample_set": place[0], "detector": place[1], **{key: row[key] for key in COSTS}, **found})
    machine = {"device": manifest.settings.device} | {key: getattr(manifest, key) for key in MACHINE}
    return {"schema_version": 1, **machine, "seconds_total": manifest.seconds_total, "rows": rows}


def differences(scores: pd.DataFrame, reference: pd.DataFrame) -> dict[tuple[str, str], float]:
    """Largest difference of a score from that of the same item and seed, over the largest score of the reference."""
    both = scores.merge(reference, on=ITEM, suffixes=("", "_reference"))
    both = both[(both["status"] == "ok") & (both["status_reference"] == "ok")]
    found = {}
    for place, part in both.groupby(["sample_set", "detector"]):
        largest = part["score_reference"].abs().max()
        gap = (part["score"] - part["score_reference"]).abs().max()
        found[place] = float(gap / largest) if largest else float(gap)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 if a detector failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--make", action="store_true", help="NAME of a shape of studies.sd_scale, and a directory")
    parser.add_argument("what")
    parser.add_argument("where", type=Path)
    parser.add_argument("--baseline", type=Path)
    given = parser.parse_args(arguments)
    if given.make:
        make(given.what, given.where)
        return 0
    made = record(Run.load(given.what), given.baseline and Run.load(given.baseline))
    write_text(given.where, json.dumps(made, indent=1, default=str) + "\n")
    failed = [row["detector"] for row in made["rows"] if {"error", "nonfinite"} & set(row["statuses"])]
    for name in failed:
        print(f"failed: {name}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
