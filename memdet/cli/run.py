"""``memdet run``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memdet.cli.options import batch_size_or_measure, device_of
from memdet.errors import UserError

if TYPE_CHECKING:
    from memdet.models.accelerated import Mode


@click.command("run")
@click.argument("specs", metavar="[SPEC]...", nargs=-1)
@click.option("--suite", help="A named list of sample sets and detectors, e.g. quick.")
@click.option("--detector", "names", multiple=True, metavar="NAME", help="name or name@option=value; can be repeated.")
@click.option("--seeds", type=click.IntRange(min=1), help="Noise seeds 0 to N-1.  [default: the protocol's]")
@click.option("--model", metavar="DIR_OR_HUB_ID", help="Your own model, with --samples.")
@click.option("--samples", type=click.Path(path_type=Path), metavar="FILE.jsonl", help="Your own items, with --model.")
@click.option(
    "--noise", type=click.Choice(["shared", "per-item"]), help="Starting noise of --samples.  [default: shared]"
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float64", "bfloat16", "float16"]), default="float32", show_default=True
)
@click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    help="Items at once: a number; measure; or auto, a rule on the CPU and a measurement elsewhere.",
)
@click.option(
    "--memory-budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="What a measured batch may take beside the weights.  [default: .8 of what CUDA has free, .5 elsewhere]",
)
@click.option(
    "--accelerate",
    "mode",
    type=click.Choice(["off", "compile", "cuda-graphs"]),
    default="off",
    show_default=True,
    help="Forwards by torch.compile or by CUDA graphs, each held against the eager network first.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory.  [default: runs/SUITE_OR_SET]")
@click.option("--engine", type=click.Choice(["local"]), default="local", show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes; CPU only.")
@click.option("--plugin", "plugins", type=click.Path(path_type=Path), multiple=True, help="Python file with detectors.")
@click.option("--files", type=click.Path(path_type=Path), metavar="DIR", help="Your copies of files that specs fetch.")
@click.option("--offline", is_flag=True, help="Open no connection; what is fetched must be cached or in --files.")
@click.option("--format", "form", default="table", show_default=True, help="As memdet report.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
def command(
    specs: tuple[str, ...],
    suite: str | None,
    names: tuple[str, ...],
    seeds: int | None,
    model: str | None,
    samples: Path | None,
    noise: str | None,
    device: str,
    dtype: str,
    batch_size: str,
    memory_budget: float | None,
    mode: Mode,
    out: Path | None,
    engine: str,
    workers: int,
    plugins: tuple[Path, ...],
    files: Path | None,
    offline: bool,
    form: str,
    quiet: bool,
) -> int:
    """Score sample sets with detectors, write a run directory and print the table.

    Controls are always scored too. The same command resumes an interrupted run.
    """
    from memdet.detectors import detector_classes, make_detectors, with_controls
    from memdet.samplesets import Fetcher, load_sample_set, load_samples_file, load_suite

    if (model is None) != (samples is None):
        raise UserError("--model and --samples go together: a model directory and a file of items")
    if not (specs or suite or samples):
        raise UserError("nothing to run: name a sample set, --suite quick, or --model with --samples")
    if noise and samples is None:
        raise UserError("--noise belongs to --samples; a sample set's spec states its own noise")
    classes = detector_classes(plugins)
    chosen = load_suite(suite) if suite else None
    references = [*(chosen.sample_sets if chosen else ()), *specs]
    wanted = list(names) or list(chosen.detectors if chosen else load_suite("quick").detectors)
    detectors = with_controls(make_detectors(wanted, classes), classes)
    fetcher = Fetcher(files, offline)
    sets = [load_sample_set(reference, fetcher=fetcher) for reference in dict.fromkeys(references)]
    if samples is not None and model is not None:
        sets.append(load_samples_file(samples, model=model, noise=noise or "shared"))
    if len({s.id for s in sets}) < len(sets):
        raise UserError("two sample sets have the same id; run them apart")
    batch = batch_size_or_measure(batch_size)
    form = _format(form)

    import torch

    from memdet.running import RunOptions, run
    from memdet.tables import FORMATS, report_rows

    options = RunOptions(
        seeds=seeds or (chosen.seeds if chosen else None),
        device=device_of(device),
        dtype=getattr(torch, dtype),
        batch_size=batch,
        memory_budget=None if memory_budget is None else memory_budget * 1e9,
        accelerate=mode,
        workers=workers,
        offline=offline,
    )
    if workers > 1 and options.device != "cpu":
        raise UserError(f"--workers {workers} is for the CPU; on {options.device} one process keeps the device busy")
    target = out or Path("runs") / (suite or "-".join(s.id for s in sets))
    run(sets, detectors, target, options, command=shlex.join(["memdet", *sys.argv[1:]]), progress=not quiet)
    rows = report_rows([target])
    click.echo(FORMATS[form](rows))
    click.echo(f"Run directory: {target}", err=True)
    failed = [row for row in rows if row["status"] in {"error", "nonfinite"}]
    return 1 if failed else 0


def _format(form: str) -> str:
    from memdet.tables import FORMATS

    if form not in FORMATS:
        raise UserError(f"--format {form!r} is not known: {', '.join(FORMATS)}")
    return form
