"""``memdet bench``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from memdet.cli import options
from memdet.errors import UserError
from memdet.given_files import read_json_value
from memdet.io_utils import json_text, write_text

if TYPE_CHECKING:
    from memdet.benching.throughput import BenchOptions
    from memdet.detectors import Detector
    from memdet.models.accelerated import Mode
    from memdet.samplesets import SampleSet

# Norms, a trace, an extreme eigenvalue and counts, at pure noise and late on the trajectory; wen2024 has no product.
DETECTORS = (
    "wen2024",
    "jeon2025",
    "curvature-gap",
    "hessian-trace@t=200",
    "jeon2024-eigenvalues",
    "jeon2024-eigenvalues@statistic=count-below,t=200",
    "jeon2024-eigenvalues@statistic=positive,t=200",
)
FORMATS = ("table", "markdown", "csv", "json", "pytest-benchmark")
SAMPLE_SET = "tiny-sd-a-verbatim"
BATCH_SIZE = 64


@dataclass(frozen=True)
class ThroughputOptions:
    """What the command line says; the help of each option says what it means."""

    names: tuple[str, ...]
    compare: tuple[str, str] | None
    reference: str
    models: tuple[str, ...]
    sizes: tuple[int, ...]
    dtypes: tuple[str, ...]
    devices: tuple[str, ...]
    noise: Literal["shared", "per-item"] | None
    accelerate: Mode
    rounds: int
    seconds: float
    threads: int | None
    no_memory: bool
    plugins: tuple[Path, ...]
    form: str
    saved: Path | None
    out: Path | None
    quiet: bool


@click.group("bench", invoke_without_command=True)
@options.detectors("those of quick", "Several with commas, or repeated.")
@click.option("--compare", nargs=2, metavar="A B", help="Interleave two detectors, or one and bare-forward.")
@options.sample_set(SAMPLE_SET)
@click.option(
    "--model", "models", multiple=True, metavar="NAME_OR_DIR", help="Instead of the set's own; can be repeated."
)
@click.option(
    "--batch-size", "sizes", type=click.IntRange(min=1), multiple=True, help="Can be repeated.  [default: 64]"
)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(options.DTYPES),
    multiple=True,
    help="Can be repeated.  [default: float32]",
)
@click.option("--device", "devices", multiple=True, help="cpu, cuda, cuda:1, mps; can be repeated.  [default: auto]")
@click.option("--noise", type=click.Choice(["shared", "per-item"]), help="[default: the sample set's]")
@click.option(
    "--rounds", type=click.IntRange(min=3), default=15, show_default=True, help="Of each measurement, at most."
)
@click.option(
    "--accelerate",
    type=click.Choice(["off", "compile", "cuda-graphs"]),
    default="off",
    show_default=True,
    help="Forwards by torch.compile or by CUDA graphs.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="After that no further round is begun.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Of the CPU.  [default: as torch chooses]")
@click.option("--no-memory", is_flag=True, help="Leave out peak memory, which takes a process of its own each.")
@options.plugins()
@options.open_form(f"{', '.join(FORMATS)}.")
@click.option("--from", "saved", type=options.UserPath(), help="Show a saved JSON file; nothing is measured.")
@options.out("Write to a file.")
@options.quiet
@options.view()
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> int:
    """Measure what detectors cost on this machine.

    Alone: items a second of each detector, and how much of that time is the network. With a command: check the
    numerics, or plan for a model that is not at hand.
    """
    if ctx.invoked_subcommand is None:
        return _throughput(ThroughputOptions(**given))
    for parameter in ctx.command.params:
        if (
            parameter.name
            and parameter.expose_value
            and ctx.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE
        ):
            raise UserError(
                f"{parameter.opts[-1]} is no option before a command; give it after {ctx.invoked_subcommand}"
            )
    return 0


def _throughput(given: ThroughputOptions) -> int:
    from memdet.cli.output import doing, show

    options.check_form(given.form, FORMATS)
    _check_comparison(given)
    if given.saved is not None:
        from memdet.benching.throughput_table import read_throughput, throughput_table

        rows = read_throughput(read_json_value(given.saved), str(given.saved))
        show(throughput_table(rows, given.form), given.out, quiet=given.quiet)
        return 0

    from memdet.detectors import detector_classes, make_detectors
    from memdet.samplesets import load_sample_set, load_suite

    classes = detector_classes(given.plugins)
    if given.compare:
        wanted = [None if name == "bare-forward" else make_detectors([name], classes)[0] for name in given.compare]
        show(_compare(given, wanted, load_sample_set(given.reference)), given.out, quiet=given.quiet)
        return 0
    chosen = make_detectors(given.names or load_suite("quick").detectors, classes)
    doing(f"measuring {len(chosen)} detectors, up to {given.seconds:g} s each", quiet=given.quiet)
    rows = _measure(given, chosen, load_sample_set(given.reference))
    from memdet.benching.throughput_table import throughput_table

    show(throughput_table(rows, given.form), given.out, quiet=given.quiet)
    return 1 if any(row["status"] in {"error", "nonfinite"} for row in rows) else 0


def _check_comparison(given: ThroughputOptions) -> None:
    """Refuse what does not go with ``--compare``."""
    several = max(map(len, (given.sizes, given.models, given.dtypes, given.devices))) > 1
    if given.compare and (given.names or several or given.saved or given.form not in {"table", "json"}):
        raise UserError(
            "--compare takes two detectors, one batch size, model, dtype and device, and --format table or json;"
            " it goes with neither --detector nor --from"
        )


def _compare(given: ThroughputOptions, wanted: Sequence[Detector | None], sample_set: SampleSet) -> str:
    """Two detectors in turn; None is the bare network."""
    from memdet.benching import throughput
    from memdet.benching.throughput_table import compared_row, compared_text

    ((settings, machine, model),) = _combinations(given)
    first, second = wanted
    size = (given.sizes or (BATCH_SIZE,))[0]
    row = compared_row(throughput.compare(first, second, sample_set, size, settings, model=model), machine)
    return json_text(row, indent=1) if given.form == "json" else compared_text(row)


def _measure(given: ThroughputOptions, chosen: Sequence[Detector], sample_set: SampleSet) -> list[dict[str, Any]]:
    """A row a detector, size and combination."""
    from memdet.benching import throughput
    from memdet.benching.throughput_table import throughput_rows

    rows = []
    for settings, machine, model in _combinations(given):
        measured = throughput.bench(
            chosen, sample_set, given.sizes or (BATCH_SIZE,), settings, model=model, progress=not given.quiet
        )
        rows += throughput_rows(measured, machine)
    return rows


def _combinations(given: ThroughputOptions) -> Iterator[tuple[BenchOptions, dict[str, Any], str | None]]:
    """Settings, description of the machine and model of each device, dtype and model."""
    import shlex

    import torch

    from memdet.benching.throughput import BenchOptions
    from memdet.running.description import describe_machine
    from memdet.running.memory import keep_freed_memory

    keep_freed_memory()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    devices = map(options.device_of, given.devices or ("auto",))
    for device, dtype, model in product(devices, given.dtypes or ("float32",), given.models or (None,)):
        settings = BenchOptions(
            device=device,
            dtype=getattr(torch, dtype),
            noise=given.noise,
            accelerate=given.accelerate,
            rounds=given.rounds,
            most_seconds=given.seconds,
            memory=not given.no_memory,
        )
        machine = describe_machine(shlex.join(["memdet", *sys.argv[1:]]), device)
        machine["threads"] = torch.get_num_threads()
        yield settings, machine, model


@dataclass(frozen=True)
class NumericsOptions:
    """What the command line says; the help of each option says what it means."""

    model: str | None
    reference: str
    names: tuple[str, ...]
    items: int
    seed: int
    dtypes: tuple[str, ...]
    kernels: tuple[str, ...]
    device: str
    form: str
    out: Path | None


@command.command("numerics")
@click.option("--model", metavar="NAME_OR_DIR", help="Instead of the sample set's own.")
@options.sample_set(SAMPLE_SET)
@options.detectors()
@click.option("--items", type=int, default=48, show_default=True, help="How many, half of them memorized.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise.")
@click.option("--dtype", "dtypes", multiple=True, help="Can be repeated.  [default: float32, bfloat16, float16]")
@click.option("--attention", "kernels", multiple=True, help="Can be repeated.  [default: math, flash, efficient]")
@options.device
@options.open_form("table, markdown, csv or json.")
@options.out("Write to a file; of a Markdown file the marked part.")
@options.view()
@options.into(NumericsOptions)
def numerics(given: NumericsOptions) -> int:
    """Compare precisions, attention kernels and Jacobian backends with float64.

    A combination that the device cannot run is a row with the reason. With --format markdown, a file that exists keeps
    all that stands outside <!-- numerics: begin --> and <!-- numerics: end -->.
    """
    from memdet.detectors import detector_classes, make_detectors
    from memdet.samplesets import load_sample_set

    if given.items < 2:
        raise UserError(f"--items {given.items} is too few: an audit needs a memorized item and another one")
    detectors = make_detectors(given.names or DETECTORS, detector_classes())
    sample_set = load_sample_set(given.reference)

    from memdet.benching.numerics.audit import DTYPES, KERNELS, AuditOptions, audit
    from memdet.benching.numerics.table import FORMATS, numerics_table, replace_between
    from memdet.cli.output import doing, show

    for option, values, known in (("--dtype", given.dtypes, DTYPES), ("--attention", given.kernels, KERNELS)):
        for value in values:
            if value not in known:
                raise UserError(f"{option} {value!r} is not known: {', '.join(known)}")
    options.check_form(given.form, tuple(FORMATS))
    doing(f"computing {len(detectors)} detectors in every precision, and in float64")
    keeps = given.out is not None and given.form == "markdown" and given.out.exists()
    kept = given.out.read_text(encoding="utf-8") if keeps and given.out is not None else None
    if kept is not None:
        replace_between(kept, "")  # found out before the work
    found = audit(
        sample_set,
        detectors,
        AuditOptions(
            items=given.items,
            seed=given.seed,
            dtypes=list(dict.fromkeys(given.dtypes)) or AuditOptions.dtypes,
            kernels=list(dict.fromkeys(given.kernels)) or AuditOptions.kernels,
            device=options.device_of(given.device),
        ),
        model=given.model,
        progress=True,
    )
    text = numerics_table(found, given.form)
    if given.out is None or kept is None:
        show(text, given.out)
    else:
        write_text(given.out, replace_between(kept, text))
    return 1 if any(measured.status == "error" for measured in found.measured) else 0


@dataclass(frozen=True)
class PlanOptions:
    """What the command line says; the help of each option says what it means."""

    models: tuple[str, ...]
    device: str
    names: tuple[str, ...]
    batch_size: str
    dtype: str
    latent_size: int | None
    steps: int
    prompts: int | None
    seeds: int
    efficiency: float
    plugins: tuple[Path, ...]
    form: str
    out: Path | None


@command.command("plan")
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    metavar="NAME_OR_CONFIG",
    help="sd-1.4, sd-2.1, sdxl, a planted model, a UNet's config.json or a pipeline directory; can be repeated.",
)
@click.option("--device", default="h100", show_default=True, help="h100, h200, a100, l4, 4090 or t4.")
@options.detectors("all", "Several with commas, or repeated.")
@options.batch_size("Rows of a network call; auto: what fits.")
@click.option("--dtype", default="float16", show_default=True, help="float32, tf32, bfloat16 or float16.")
@click.option("--latent-size", type=click.IntRange(min=1), help="Height and width.  [default: the configuration's]")
@click.option("--steps", type=click.IntRange(1, 1_000), default=50, show_default=True, help="Of the trajectory.")
@click.option("--prompts", type=click.IntRange(min=1), metavar="N", help="How many: says how long they take.")
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, help="Noise seeds of each prompt.")
@click.option(
    "--efficiency",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of the published peaks that the device reaches; 1 makes times a lower bound.",
)
@options.plugins()
@options.open_form("table, markdown, csv or json.")
@options.out("Write to a file.")
@options.view()
@options.into(PlanOptions)
def plan(given: PlanOptions) -> None:
    """Project what detectors cost on a model that nobody here runs.

    Counts FLOPs, bytes and memory of a UNet from its configuration, without weights, and divides by the published
    peaks of a device. A projection, not a measurement: the items a second are a ceiling. With --prompts, and --seeds,
    it says how long these take and how much memory: memdet bench plan --model sd-1.4 --device a100 --prompts 1000
    --seeds 4 -d wen2024,jeon2025
    """
    if given.prompts is None and (given.seeds != 1 or given.efficiency != 1):
        raise UserError("--seeds and --efficiency belong to --prompts N: say how many prompts there are")
    from memdet.benching.projection.devices import peaks_of
    from memdet.cli.output import doing, show
    from memdet.detectors import detector_classes, make_detectors

    batch, known = options.batch_size_of(given.batch_size), peaks_of(given.device, given.dtype)
    detectors = make_detectors(given.names or ("*",), detector_classes(given.plugins))

    from memdet.benching.projection import roofline
    from memdet.benching.projection.table import FORMATS, plan_table
    from memdet.benching.projection.unet import read_unet_config
    from memdet.benching.projection.work import Work

    options.check_form(given.form, tuple(FORMATS))
    configs = [read_unet_config(name) for name in dict.fromkeys(given.models)]
    doing(f"counting the operators of {', '.join(config.name for config in configs)}")
    plans = [
        roofline.plan(
            config,
            detectors,
            given.device,
            known,
            given.dtype,
            batch=batch,
            size=given.latent_size,
            steps=given.steps,
        )
        for config in configs
    ]
    work = None if given.prompts is None else Work(given.prompts, given.seeds, given.efficiency)
    show(plan_table(plans, given.form, work), given.out)
