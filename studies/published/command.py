"""``memdet reproduce published``."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memdet.cli import options
from memdet.cli.output import doing, show, wrote
from memdet.errors import UserError
from memdet.published.figures import Figure, published_figures, sets_with_figures

if TYPE_CHECKING:
    from memdet.results import Run
    from memdet.samplesets import SampleSet
    from memdet.samplesets.fetch import Fetcher
    from studies.published.plan import Asked

SEEDS = 4  # at which the papers' own methods are judged
FORMATS = ("table", "markdown", "csv", "json")


@dataclass(frozen=True)
class Given:
    """What the command line says; the help of each option says what it means."""

    only: tuple[str, ...]
    names: tuple[str, ...]
    seeds: int
    items: int | None
    stored: Path | None
    plans: bool
    gpu: str | None
    efficiency: float
    device: str
    dtype: str
    batch_size: str
    workers: int
    files: Path | None
    offline: bool
    out: Path | None
    form: str
    quiet: bool


@click.command("published")
@click.option("--only", multiple=True, metavar="SET", help=f"{', '.join(sets_with_figures())}; can be repeated.")
@options.detectors("all that have a figure with so many seeds")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=SEEDS,
    show_default=True,
    help="Noise seeds, the papers' n: figures are known of 1, 4 and 16.",
)
@click.option("--items", type=click.IntRange(min=2), help="Of each class: a rehearsal, which is compared with nothing.")
@click.option("--from", "stored", type=options.UserPath(), metavar="RUN_DIR", help="Compare this run; nothing is run.")
@click.option("--plan", "plans", is_flag=True, help="Say what it costs, and stop.")
@click.option(
    "--gpu", metavar="NAME", help="For which the cost is said: as memdet bench plan --device.  [default: yours]"
)
@click.option(
    "--efficiency",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the published peaks that it reaches; 1 makes times a lower bound.",
)
@options.device
@options.dtype
@options.batch_size("Items at once: a number, or auto.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="On GPUs, one for each.")
@options.fetching
@options.form(FORMATS, text="Of the comparison.")
@options.out("Run directory.  [default: runs/published-nSEEDS]", made="directory")
@options.quiet
@options.view(writes=False)
@options.into(Given)
def command(given: Given) -> int:
    """Published prompt sets on the published models, against what papers report.

    Says what it costs, runs it, and prints which figures lie within the run's intervals. The same command resumes an
    interrupted run. Needs a GPU, 4 to 6 GB of weights of each model, and the prompts, which are fetched.
    """
    if given.stored is not None:
        if given.plans or given.only or given.names or given.items is not None:
            raise UserError("--from compares a run that is there: leave out what says what to run")
        _compare(given.stored, given.form)
        return 0
    figures = _figures(given)

    from memdet.detectors import detector_classes, make_detectors, with_controls
    from studies.published.plan import gpu_here, planned

    classes = detector_classes()
    chosen = make_detectors(given.names or list(dict.fromkeys(one.detector for one in figures)), classes)
    batch_size, device = options.batch_size_of(given.batch_size), options.device_of(given.device)
    if given.plans or not given.quiet:
        doing("counting what it costs", quiet=given.quiet)
        cost = planned(figures, chosen, _asked(given, given.gpu or gpu_here()))
        click.echo(cost, err=not given.plans)  # what a run prints is the comparison alone
    if given.plans:
        return 0

    import torch

    from memdet.running import RunOptions, run
    from memdet.running.engines import check_devices
    from memdet.running.memory import keep_freed_memory
    from memdet.samplesets.fetch import Fetcher

    run_options = RunOptions(
        seeds=given.seeds,
        device=device,
        dtype=getattr(torch, given.dtype),
        batch_size=batch_size,
        workers=given.workers,
        fetcher=Fetcher(given.files, given.offline),
    )
    check_devices(run_options)
    keep_freed_memory()
    sets = [
        _loaded(name, given.items, run_options.fetcher) for name in dict.fromkeys(one.sample_set for one in figures)
    ]
    target = given.out or Path("runs") / _name(given)
    invocation = shlex.join(["memdet", *sys.argv[1:]])
    made = run(sets, with_controls(chosen, classes), target, run_options, command=invocation, progress=not given.quiet)
    _compare(made, given.form)
    wrote(target, "Run directory", follow=f"memdet report {target} --against-published", quiet=given.quiet)
    return int(made.score_rows(["status"])["status"].isin(["error", "nonfinite"]).any())


def _figures(given: Given) -> list[Figure]:
    """Those that the run is about.

    Raises:
        UserError: An unknown set, or a number of seeds of which no figure is known and no detector is named.
    """
    known = sets_with_figures()
    if unknown := [name for name in given.only if name not in known]:
        raise UserError(f"--only {unknown[0]!r} has no published figures: {', '.join(known)} have")
    of_sets = [one for one in published_figures() if one.sample_set in (given.only or known)]
    found = [one for one in of_sets if one.seeds == given.seeds]
    if not found and not given.names:
        numbers = ", ".join(map(str, sorted({one.seeds for one in of_sets})))
        raise UserError(f"--seeds {given.seeds}: no figure is known of so many; known are {numbers}")
    return found or of_sets


def _asked(given: Given, gpu: str) -> Asked:
    from studies.published.plan import Asked

    return Asked(given.seeds, given.items, gpu, given.dtype, given.efficiency)


def _loaded(name: str, items: int | None, fetcher: Fetcher) -> SampleSet:
    """A published set, or the first items of each class of it."""
    from memdet.samplesets import load_sample_set

    whole = load_sample_set(name, fetcher=fetcher)
    if items is None:
        return whole
    return dataclasses.replace(whole, items=whole.items.groupby("label").head(items).reset_index(drop=True))


def _name(given: Given) -> str:
    parts = ["published", *given.only, f"n{given.seeds}", *([] if given.items is None else [f"items{given.items}"])]
    return "-".join(parts)


def _compare(run: Run | Path, form: str) -> None:
    from memdet.published.against import against_published
    from memdet.published.text import FORMATS as render

    show(render[form](against_published([run])), None)
