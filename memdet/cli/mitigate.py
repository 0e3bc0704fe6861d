"""``memdet mitigate``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memdet.cli import options
from memdet.cli.completion import mitigation_names
from memdet.cli.output import doing, wrote
from memdet.cli.places import default_directory
from memdet.cli.sets import with_suite
from memdet.errors import UserError

if TYPE_CHECKING:
    from memdet.samplesets import SuiteSpec

FORMATS = ("table", "markdown", "json")


@dataclass(frozen=True)
class Given:
    """What the command line says; the help of each option says what it means."""

    spec: str | None
    suite: str | None
    names: tuple[str, ...]
    seeds: int | None
    items: int | None
    steps: int | None
    guidance: float | None
    device: str
    dtype: str
    batch_size: str
    out: Path | None
    workers: int
    gate: Path | None
    fpr: float
    plugins: tuple[Path, ...]
    form: str
    quiet: bool


@click.command("mitigate")
@options.sample_sets()
@options.suite("A named list of sample sets and mitigations: mitigation.")
@options.names_of(
    "-m",
    "--method",
    "names",
    text="name or name@option=value, or * for all; several with commas, or repeated. none and reseed are always there.",
    kind=mitigation_names,
)
@click.option("--seeds", type=click.IntRange(min=1), help="Noise seeds 0 to N-1.  [default: the protocol's]")
@click.option(
    "--items",
    type=click.IntRange(min=1),
    metavar="N",
    help="The first N of each label.  [default: the suite's, or all]",
)
@options.steps("Of the trajectory, instead of the protocol's.")
@options.guidance("Classifier-free guidance, instead of the protocol's.")
@options.device
@options.dtype
@options.batch_size("Items at once: a number, or auto. A batch that does not fit into memory is halved.")
@options.out(
    "Run directory.  [default: runs/mitigate-SET, with a number where that holds another run]", made="directory"
)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes; CPU only.")
@click.option(
    "--gate",
    type=options.UserPath(),
    metavar="RUN_DIR",
    help="Run of detectors on SET: also show what is left where a mitigation is applied to flagged captions alone.",
)
@click.option("--fpr", type=float, default=0.05, show_default=True, help="False positive rate at which --gate flags.")
@options.plugins("Python file with mitigations.")
@options.open_form("table, markdown or json.")
@options.quiet
@options.view(writes=False)
@options.into(Given)
def command(given: Given) -> int:
    """Generate with mitigations and show what is still given back, and what it costs.

    SET is a sample set of planted captions, or a suite of them. The same command resumes an interrupted run.
    """
    if given.spec is not None and given.suite is None:
        named, suite_named = with_suite([given.spec], None)
        given = replace(given, spec=named[0] if named else None, suite=suite_named)
    if (given.spec is None) == (given.suite is None):
        raise UserError("name one sample set, such as tiny-sd-a-verbatim, or --suite mitigation")

    from memdet.samplesets import load_suite

    options.check_form(given.form, FORMATS)
    suite = load_suite(given.suite) if given.suite else None
    sets = suite.sample_sets if suite else [str(given.spec)]
    if given.out is not None and len(sets) > 1:
        raise UserError(f"--out is the directory of one sample set, and the suite has {len(sets)}: leave it out")
    failed = [_run_one(given, suite, name) for name in sets]
    return int(any(failed))


def _run_one(given: Given, suite: SuiteSpec | None, name: str) -> bool:
    """One sample set; whether something went wrong."""
    from memdet.mitigation import make_mitigations, mitigation_classes
    from memdet.samplesets import load_sample_set

    sample_set = load_sample_set(name).with_protocol(steps=given.steps, guidance=given.guidance)
    wanted = list(given.names) or (list(suite.mitigations) if suite else ["*"])
    mitigations = make_mitigations(wanted, mitigation_classes(given.plugins))

    import torch

    from memdet.io_utils import write_text
    from memdet.mitigating.gated import gate
    from memdet.mitigating.measures import measure
    from memdet.mitigating.page import PAGE, made_by, to_html
    from memdet.mitigating.planted import planted_of
    from memdet.mitigating.run import first_of_each_label, mitigate
    from memdet.mitigating.text import FORMATS as DRAWN
    from memdet.mitigating.text import Comparison
    from memdet.results import Run
    from memdet.running import RunOptions
    from memdet.running.memory import keep_freed_memory

    scores = None if given.gate is None else Run.load(given.gate)  # a mistake is found before the work
    items = given.items or (suite.items if suite else None)
    if items is not None:
        sample_set = first_of_each_label(sample_set, items)
    run_options = RunOptions(
        seeds=given.seeds or (suite.seeds if suite else None),
        device=options.device_of(given.device),
        dtype=getattr(torch, given.dtype),
        batch_size=options.batch_size_of(given.batch_size),
        workers=given.workers,
    )
    if given.workers > 1 and run_options.device != "cpu":
        raise UserError(
            f"--workers {given.workers} is for the CPU; on {run_options.device} one process keeps the device busy"
        )
    keep_freed_memory()
    doing(f"generating from {sample_set.id} with {len(mitigations)} mitigations", quiet=given.quiet)
    target = given.out or default_directory(
        f"mitigate-{sample_set.id}", [sample_set], mitigations, seeds=run_options.seeds, kind="mitigations"
    )
    invocation = shlex.join(["memdet", *sys.argv[1:]])
    run = mitigate(sample_set, mitigations, target, run_options, command=invocation, progress=not given.quiet)
    rows = measure(run)
    gated = gate(run, scores, given.fpr) if scores is not None else []
    found = Comparison(run, rows, gated, given.fpr)
    write_text(target / PAGE, to_html(found, planted_of(sample_set), made_by(Run.load(target).manifest)))
    click.echo(DRAWN[given.form](found))
    wrote(target / PAGE, "Page with pictures", follow=f"open {target / PAGE}", quiet=given.quiet)
    return any(row.status in {"error", "nonfinite"} for row in rows)
