"""``memdet run``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memdet.cli import options
from memdet.cli.output import wrote
from memdet.cli.places import default_directory, name_of_model
from memdet.cli.sets import with_suite
from memdet.errors import UserError

if TYPE_CHECKING:
    from memdet.detectors import Detector
    from memdet.models.accelerated import Mode
    from memdet.models.load_options import LoadOptions
    from memdet.running.options import Engine
    from memdet.samplesets import SampleSet, SuiteSpec
    from memdet.samplesets.fetch import Fetcher


@dataclass(frozen=True)
class Given:
    """What the command line says; the help of each option says what it means."""

    specs: tuple[str, ...]
    suite: str | None
    names: tuple[str, ...]
    seeds: int | None
    model: str | None
    loading: LoadOptions
    samples: Path | None
    column: str | None
    noise: str | None
    steps: int | None
    guidance: float | None
    device: str
    dtype: str
    batch_size: str
    accelerate: Mode
    out: Path | str | None
    engine: Engine
    address: str | None
    workers: int
    plugins: tuple[Path, ...]
    isolate_plugins: bool
    files: Path | None
    offline: bool
    form: str
    quiet: bool


@click.command("run")
@options.sample_sets(several=True)
@options.suite("A named list of sample sets and detectors, e.g. quick.")
@options.detectors()
@click.option("--seeds", type=click.IntRange(min=1), help="Noise seeds 0 to N-1.  [default: the protocol's]")
@click.option("--model", metavar="MODEL", help="Your own, with --samples: a directory, a hub id or FILE.py:FUNCTION.")
@options.loading
@click.option(
    "--samples",
    type=options.UserPath(),
    metavar="FILE",
    help="Your own prompts, with --model: .jsonl, .json, .csv, .tsv, .parquet, or OWNER/NAME:SPLIT of the hub, with a "
    "column or key memorized, 1 or 0 (id, cluster and stratum if wanted).",
)
@options.column("Of the prompts in --samples.")
@click.option(
    "--noise", type=click.Choice(["shared", "per-item"]), help="Starting noise of --samples.  [default: shared]"
)
@options.steps("Of DDIM, instead of the protocol's; such a run stands on no leaderboard.  [default of --samples: 50]")
@options.guidance(
    "Classifier-free guidance, instead of the protocol's; such a run stands on no leaderboard.  [default of --samples: "
    "7.5]"
)
@options.device
@options.dtype
@options.batch_size("Items at once: a number, or auto. A batch that does not fit into memory is halved.")
@click.option(
    "--accelerate",
    type=click.Choice(["off", "compile", "cuda-graphs"]),
    default="off",
    show_default=True,
    help="Forwards by torch.compile or by CUDA graphs, each held against the eager network first.",
)
@options.out(
    "Run directory, or its address, s3://BUCKET/RUN.  [default: runs/SUITE_OR_SET, of --samples runs/FILE-MODEL, with "
    "a number where that holds another run]",
    made="directory",
    run=True,
)
@click.option(
    "--engine",
    type=click.Choice(["local", "ray"]),
    default="local",
    show_default=True,
    help="What computes: this machine, or a Ray cluster.",
)
@click.option(
    "--address",
    metavar="HOST:PORT",
    help="Of a running Ray cluster, or auto.  [default: one is started on this machine]",
)
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes; on GPUs, one for each."
)
@options.plugins()
@click.option(
    "--isolate-plugins", is_flag=True, help="Detectors of others in a process of their own, which gets no labels."
)
@options.fetching
@options.open_form("As memdet report.")
@options.quiet
@options.view(writes=False, top=True)
@options.into(Given)
def command(given: Given) -> int:
    """Score sample sets with detectors, write a run directory and print the table.

    SET is an id of memdet list sets, the path of a spec, or the name of a suite, which brings its detectors.
    Controls are always scored too. The same command resumes an interrupted run.
    """
    _check(given)
    if given.specs:
        sets_named, suite_named = with_suite(given.specs, given.suite)
        given = replace(given, specs=sets_named, suite=suite_named)

    from memdet.samplesets import load_suite
    from memdet.samplesets.fetch import Fetcher
    from memdet.tables import FORMATS

    fetcher = Fetcher(given.files, given.offline)
    suite = load_suite(given.suite) if given.suite else None
    if suite is not None and suite.mitigations:
        raise UserError(f"suite {suite.name} lists mitigations: `memdet mitigate --suite {suite.name}` runs it")
    detectors, sets = _detectors(given, suite), _sample_sets(given, suite, fetcher)
    batch_size = options.batch_size_of(given.batch_size)
    options.check_form(given.form, FORMATS)

    import torch

    from memdet.running import RunOptions, run
    from memdet.running.engines import check_devices
    from memdet.running.memory import keep_freed_memory
    from memdet.tables import rows_of

    run_options = RunOptions(
        seeds=given.seeds or (suite.seeds if suite else None),
        device=options.device_of(given.device),
        dtype=getattr(torch, given.dtype),
        batch_size=batch_size,
        accelerate=given.accelerate,
        engine=given.engine,
        address=given.address,
        workers=given.workers,
        isolate_plugins=given.isolate_plugins,
        fetcher=fetcher,
        loading={} if given.model is None else {given.model: given.loading},
    )
    check_devices(run_options)
    keep_freed_memory()
    target = given.out or default_directory(_name(given, sets), sets, detectors, seeds=run_options.seeds)
    invocation = shlex.join(["memdet", *sys.argv[1:]])
    rows = rows_of(run(sets, detectors, target, run_options, command=invocation, progress=not given.quiet))
    click.echo(FORMATS[given.form](rows))
    wrote(target, "Run directory", follow=f"memdet report {target} --format html --out {_page(target)}")
    return 1 if any(row["status"] in {"error", "nonfinite"} for row in rows) else 0


def _check(given: Given) -> None:
    """Refuse what does not go together before anything is loaded."""
    if (given.model is None) != (given.samples is None):
        raise UserError("--model and --samples go together: a model directory and a file of items")
    if not (given.specs or given.suite or given.samples):
        raise UserError("nothing to run: name a sample set, --suite quick, or --model with --samples")
    if given.model is None and (chosen := given.loading.chosen):
        raise UserError(f"`{chosen[0]}` belongs to --model and --samples", parameters=chosen)
    if given.column and given.samples is None:
        raise UserError("--column belongs to --samples; a sample set's spec names its own columns")
    if given.address and given.engine != "ray":
        raise UserError("--address is that of a Ray cluster: add --engine ray")
    if given.noise and given.samples is None:
        raise UserError("--noise belongs to --samples; a sample set's spec states its own noise")


def _detectors(given: Given, suite: SuiteSpec | None) -> list[Detector]:
    """Those that are named, else the suite's, with all controls."""
    from memdet.detectors import detector_classes, make_detectors, with_controls
    from memdet.samplesets import load_suite

    classes = detector_classes(given.plugins)
    wanted = list(given.names) or list(suite.detectors if suite else load_suite("quick").detectors)
    return with_controls(make_detectors(wanted, classes), classes)


def _page(target: Path | str) -> str:
    """Where the page of a run may lie."""
    return f"{target}.html" if isinstance(target, Path) else f"{target.rpartition('/')[2]}.html"


def _name(given: Given, sets: list[SampleSet]) -> str:
    """Of a run that names no place: one file of samples may be scored on several models."""
    model = [] if given.model is None else [name_of_model(given.model) + given.loading.suffix]
    return "-".join([given.suite] if given.suite else [*(s.id for s in sets), *model])


def _sample_sets(given: Given, suite: SuiteSpec | None, fetcher: Fetcher) -> list[SampleSet]:
    """Those of the suite, then those that are named, then the user's own items."""
    from memdet.samplesets import load_sample_set, load_samples_file

    references = dict.fromkeys([*(suite.sample_sets if suite else ()), *given.specs])
    named = (load_sample_set(reference, fetcher=fetcher) for reference in references)
    sets = [one.with_protocol(steps=given.steps, guidance=given.guidance) for one in named]
    if given.samples is not None and given.model is not None:
        settings = {"noise": given.noise, "steps": given.steps, "guidance": given.guidance, "column": given.column}
        said: dict[str, Any] = {name: value for name, value in settings.items() if value is not None}
        sets.append(load_samples_file(given.samples, model=given.model, fetcher=fetcher, **said))
    return sets
