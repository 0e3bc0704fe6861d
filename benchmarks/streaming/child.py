"""Measured runs in a process of their own; prints the phases of each as a line of JSON.

python -m benchmarks.streaming.child TASK, in JSON, with the folder of the runs as out
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.streaming.task import STUB, Task

# What the command line imports before it loads, as memdet/cli/run.py does; the heavy rest comes after the loading.
from memdet.detectors import detector_classes, make_detectors, with_controls
from memdet.samplesets import load_samples_file

if TYPE_CHECKING:
    from memdet.models import ScoreModel
    from memdet.results import Run


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


@cache
def loaded(model: str) -> ScoreModel:
    """A model that all runs of this process share."""
    from memdet.models import load_model

    return load_model(model, device="cpu")


def one_run(task: Task, out: Path) -> tuple[Phases, list[dict[str, Any]]]:
    """What ``memdet run --model M --samples FILE`` does, with the stub for the model if the task says so."""
    phases = Phases()
    classes = detector_classes()
    detectors = with_controls(make_detectors(task.detectors, classes), classes)
    with phases.of("load"):
        sample_set = load_samples_file(Path(task.samples), model=task.model, noise=task.noise)
    from benchmarks.streaming.problem import HashedPrompts
    from memdet.results.sinks import RunDirectory
    from memdet.running import RunOptions, run, runner
    from memdet.running.work_plan import Unit
    from memdet.tables import FORMATS, report_rows

    model = HashedPrompts() if task.model == STUB else loaded(task.model)
    plain, joining = runner.Work.compute, RunDirectory.finish

    def compute(self: runner.Work, name: str, unit: Unit, directory: RunDirectory) -> None:
        with phases.of("whole-set" if unit.name.endswith("whole") else "batches"):
            plain(self, name, unit, directory)

    def finish(self: RunDirectory, *args: Any) -> Run:
        with phases.of("finish"):
            return joining(self, *args)

    RunDirectory.finish, runner.Work.compute = finish, compute
    try:
        with phases.of("run"):
            options = RunOptions(batch_size=task.batch_size)
            run([sample_set], detectors, out, options, models={task.model: model}, progress=False)
    finally:
        RunDirectory.finish, runner.Work.compute = joining, plain
    with phases.of("report"):
        rows = report_rows([out])
        FORMATS["table"](rows)
    return phases, rows


def main() -> None:
    """Run what the command line names, after a small run if it names one."""
    asked = json.loads(sys.argv[1])
    out, task = Path(asked.pop("out")), Task(**asked)
    if task.warm_up:
        one_run(replace(task, samples=task.warm_up), out / "warm-up")
    for number in range(task.runs):
        start, cpu, own = time.perf_counter(), time.process_time(), out / f"run-{number}"
        phases, rows = one_run(task, own)
        total = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        booked = sum(row["seconds_per_item"] for row in rows if row["detector"] in task.detectors)  # as tables say it
        found = {"phases": phases.found, "total": total, "seconds_per_item": booked}
        found |= {"auroc": {row["detector"]: row["auroc"] for row in rows}}
        print(json.dumps(found | {"scores_bytes": (own / "scores.parquet").stat().st_size}))


if __name__ == "__main__":
    main()
