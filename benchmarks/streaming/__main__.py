"""Memory and time an item of runs of many prompts, by their number.

python -m benchmarks.streaming --items 1000 --items 100000 --out results/benchmarks/streaming-cpu.json

Each run is a process of its own: it loads a file of distinct prompts, scores them with some detectors and all controls
over a network of fixed cost (or a model that --model names), joins the shards and makes the table, by the functions of
`memdet run`. Sizes take turns.

In the first round processes do this alone, and their peaks of memory count. In the rounds that follow they make a run
of 100 prompts first, so that imports and first calls count for none, and as many of their size as together have 10,000
prompts or more, and these are timed. --warm leaves the first round out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.streaming.problem import write_samples
from benchmarks.streaming.task import DETECTORS, STUB, Task

PHASES = ("load", "whole-set", "batches", "finish", "report", "total")
WARM_UP = 100
TOGETHER = 10_000  # prompts of the timed runs of one process, at least


def measured(task: Task, threads: int) -> list[dict[str, Any]]:
    """Runs in a process of their own: the phases of each, and the process's peak of resident memory."""
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryFile("w+") as answer:
        command = [sys.executable, "-m", "benchmarks.streaming.child", json.dumps(asdict(task) | {"out": out})]
        child = subprocess.Popen(command, stdout=answer, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {child.returncode}")
        answer.seek(0)
        found: list[dict[str, Any]] = [json.loads(line) for line in answer.read().splitlines()]
    for run in found:
        run["phases"]["total"] = run.pop("total")
        run["peak_bytes"] = 1024 * usage.ru_maxrss  # Linux counts KiB
    return found


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a size: the peak of its first run, and medians of milliseconds an item over the others, if any."""
    rows = []
    for items in sorted({run["items"] for run in runs}):
        own = [run for run in runs if run["items"] == items]
        timed = [run for run in own if run["warm"]] or own
        row: dict[str, Any] = {"items": items, "timed_runs": len(timed), "peak_mb": own[0]["peak_bytes"] / 1e6}
        row["detectors_ms_per_item"] = round(1e3 * median(run["seconds_per_item"] for run in timed), 4)
        for kind, name in (("seconds", "ms_per_item"), ("cpu_seconds", "cpu_ms_per_item")):
            row[name] = {
                phase: round(1e3 * median(run["phases"][phase][kind] for run in timed) / items, 4) for phase in PHASES
            }
        rows.append(row)
    return rows


def main() -> None:
    """Measure the sizes of the command line and write the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streaming", description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, action="append", required=True, help="prompts of a run; can be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="that are timed")
    parser.add_argument("--detector", action="append", help=f"can be repeated; by default {' and '.join(DETECTORS)}")
    parser.add_argument("--model", default=STUB, help="instead of the network of fixed cost")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--noise", choices=["shared", "per-item"], default="shared")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--warm", action="store_true", help="timed rounds alone")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    detectors = options.detector or list(DETECTORS)
    runs = []
    with tempfile.TemporaryDirectory() as directory:
        files = {items: Path(directory) / f"prompts-{items}.jsonl" for items in {WARM_UP, *options.items}}
        for items, path in files.items():
            write_samples(path, items)
        for number in range(1 if options.warm else 0, 1 + options.rounds):
            for items in options.items:
                warm_up, times = (str(files[WARM_UP]), -(-TOGETHER // items)) if number else (None, 1)
                task = Task(
                    samples=str(files[items]),
                    detectors=detectors,
                    model=options.model,
                    batch_size=options.batch_size,
                    noise=options.noise,
                    runs=times,
                    warm_up=warm_up,
                )
                found = measured(task, options.threads)
                runs += [{"items": items, "warm": number > 0} | run for run in found]
                print(json.dumps(summary(runs[-len(found) :])[0]), flush=True)
    from memdet.running.description import describe_machine

    record = {
        "machine": describe_machine(" ".join(["python -m benchmarks.streaming", *sys.argv[1:]]), "cpu"),
        "threads": options.threads,
        "batch_size": options.batch_size,
        "model": options.model,
        "noise": options.noise,
        "detectors": detectors,
        "summary": summary(runs),
        "runs": runs,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
