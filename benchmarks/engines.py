"""Ray with one actor against this process, on the same units: what the engine itself costs.

``python -m benchmarks.engines --out results.json`` makes the run of some sample sets with each engine in turn, each in
a process of its own, and says how the times compare within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETS = ["mixture-2d", "tiny-sd-a-verbatim", "tiny-sd-a-template"]
DETECTORS = "wen2024,jeon2025,hessian-trace"


def timed(engine: str, sets: list[str], detectors: str, seeds: int) -> dict[str, float]:
    """Seconds of one run: of the whole command, and of its units."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "memdet", "run", *sets, "-d", detectors, "--seeds", str(seeds), "--device"]
        command += ["cpu", "--engine", engine, "--out", str(out), "--quiet"]
        started = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        whole = time.perf_counter() - started
        manifest = json.loads((out / "run.json").read_text())
        return {
            "command": round(whole, 2),
            "units": manifest["seconds_total"],
            "scores": manifest["files"]["scores.parquet"],
        }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", nargs="+", default=SETS)
    parser.add_argument("--detector", default=DETECTORS)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    rounds = []
    for number in range(given.rounds):
        engines = ["local", "ray"] if number % 2 == 0 else ["ray", "local"]
        rounds.append({engine: timed(engine, given.sets, given.detector, given.seeds) for engine in engines})
        assert rounds[-1]["local"]["scores"] == rounds[-1]["ray"]["scores"], "other bytes"
        print(json.dumps(rounds[-1]), flush=True)
    found = {
        "sets": given.sets,
        "detectors": given.detector,
        "seeds": given.seeds,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "rounds": rounds,
        "units_ratio": statistics.median(one["ray"]["units"] / one["local"]["units"] for one in rounds),
        "command_ratio": statistics.median(one["ray"]["command"] / one["local"]["command"] for one in rounds),
    }
    print(f"Ray over local: units {found['units_ratio']:.3f}, command {found['command_ratio']:.3f}")
    if given.out is not None:
        given.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
