"""What computes the units of a run: this process, several on this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from memdet.errors import UserError
from memdet.results.sinks import RunDirectory
from memdet.running.job import Job
from memdet.running.options import Engine, RunOptions
from memdet.running.work_plan import by_owner
from memdet.running.workers import compute_in_processes


def compute(job: Job) -> Iterator[tuple[str, int]]:
    """Compute all units by the engine that the options name.

    Yields:
        The sample set of what has been finished, and how many units it was.

    Raises:
        UserError: An unknown engine; or several processes without a directory that all of them can write to.
    """
    options = job.options
    if options.engine not in get_args(Engine):
        raise UserError(f"engine {options.engine!r} is not known: {', '.join(get_args(Engine))}")
    if options.engine == "ray":
        from memdet.running.ray_engine import compute_on_ray

        yield from compute_on_ray(job)
    elif options.workers == 1:
        for group in by_owner(job.work.plan):
            for name, indices in group:
                for index in indices:
                    job.work.compute(name, job.work.plan[name][index], job.sink)
                    yield name, 1
    elif isinstance(job.sink, RunDirectory):
        yield from compute_in_processes(job.sample_sets, job.detectors, options, job.sink.share, job.work)
    else:
        raise UserError(f"{options.workers} workers need a run directory to share their work: give `out`")


def check_devices(options: RunOptions) -> None:
    """Refuse more workers than there are devices for them; on a CPU they share its cores, on a cluster Ray counts.

    Raises:
        UserError: Several workers on one device, or on more GPUs than there are.
    """
    if options.workers == 1 or options.device == "cpu" or options.engine == "ray":
        return
    import torch

    if options.device != "cuda":
        raise UserError(
            f"`workers` {options.workers} is for the CPU, and for several GPUs; on {options.device} one process keeps "
            "the device busy",
            parameters=("workers",),
        )
    if (there := torch.cuda.device_count()) < options.workers:
        raise UserError(
            f"{options.workers} workers on cuda, which has {there} {'device' if there == 1 else 'devices'}: take a "
            "worker for each, `workers`",
            parameters=("workers",),
        )
