"""Measured runs in a process of their own; prints the phases of each as a line of JSON.

python -m benchmarks.streaming.child SAMPLES OUT BATCH LAYERS RUNS WARM_UP
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# What the command line imports before it loads, as memdet/cli/run.py does; the heavy rest comes after the loading.
from memdet.detectors import detector_classes, make_detectors, with_controls
from memdet.samplesets import load_samples_file

DETECTORS = ("wen2024", "curvature-gap")


class Phases:
    """Wall and processor seconds of the parts of a run, and the process's peak memory at the end of each."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Add the time that passes inside to a phase; the phases inside another are not taken off."""
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        phase = self.found.setdefault(name, {"seconds": 0.0, "cpu_seconds": 0.0})
        phase["seconds"] += time.perf_counter() - wall
        phase["cpu_seconds"] += time.process_time() - cpu
        phase["peak_bytes"] = peak_bytes()


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def one_run(samples: Path, out: Path, batch_size: int, layers: int = 0) -> tuple[Phases, list[dict[str, Any]]]:
    """What ``memdet run --model M --samples FILE`` does, with the stub for the model."""
    phases = Phases()
    classes = detector_classes()
    detectors = with_controls(make_detectors(DETECTORS, classes), classes)
    with phases.of("load"):
        sample_set = load_samples_file(samples, model="stub")
    from benchmarks.streaming.problem import HashedPrompts
    from memdet.reports import FORMATS, report_rows
    from memdet.running import RunOptions, run, runner
    from memdet.running.store import RunDirectory

    class Timed(RunDirectory):
        def finish(self, *args: Any, **options: Any) -> None:
            with phases.of("finish"):
                super().finish(*args, **options)

    plain = runner.Work.compute

    def compute(self: runner.Work, name: str, unit: runner.Unit, directory: RunDirectory) -> None:
        with phases.of("whole-set" if unit.name.endswith("whole") else "batches"):
            plain(self, name, unit, directory)

    runner.RunDirectory, runner.Work.compute = Timed, compute
    try:
        with phases.of("run"):
            options = RunOptions(batch_size=batch_size)
            run([sample_set], detectors, out, options, models={"stub": HashedPrompts(layers)}, progress=False)
    finally:
        runner.RunDirectory, runner.Work.compute = RunDirectory, plain
    with phases.of("report"):
        rows = report_rows([out])
        FORMATS["table"](rows)
    return phases, rows


def main() -> None:
    """Run what the command line names, after a small run if it names one."""
    samples, out, batch_size, layers, runs, warm_up = sys.argv[1:]
    if warm_up != "-":
        one_run(Path(warm_up), Path(out) / "warm-up", int(batch_size), int(layers))
    for number in range(int(runs)):
        start, cpu, own = time.perf_counter(), time.process_time(), Path(out) / f"run-{number}"
        phases, rows = one_run(Path(samples), own, int(batch_size), int(layers))
        total = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        booked = sum(row["seconds_per_item"] for row in rows if row["detector"] in DETECTORS)  # as every table says it
        found = {"phases": phases.found, "total": total, "seconds_per_item": booked}
        found |= {"auroc": {row["detector"]: row["auroc"] for row in rows}}
        print(json.dumps(found | {"scores_bytes": (own / "scores.parquet").stat().st_size}))


if __name__ == "__main__":
    main()
