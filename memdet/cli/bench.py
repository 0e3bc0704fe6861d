"""``memdet bench``."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from memdet.errors import UserError
from memdet.io_utils import write_text

if TYPE_CHECKING:
    from memdet.models.accelerated import Mode

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


@click.group("bench", invoke_without_command=True)
@click.option("--detector", "names", multiple=True, metavar="NAME", help="Can be repeated.  [default: those of quick]")
@click.option("--compare", nargs=2, metavar="A B", help="Interleave two detectors, or one and bare-forward.")
@click.option("--sample-set", "reference", metavar="SPEC", default="tiny-sd-a-verbatim", show_default=True)
@click.option(
    "--model", "models", multiple=True, metavar="NAME_OR_DIR", help="Instead of the set's own; can be repeated."
)
@click.option(
    "--batch-size", "sizes", type=click.IntRange(min=1), multiple=True, help="Can be repeated.  [default: 64]"
)
@click.option(
    "--dtype",
    "dtypes",
    type=click.Choice(["float32", "float64", "bfloat16", "float16"]),
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
@click.option("--seconds", type=float, default=60.0, show_default=True, help="After that no further round is begun.")
@click.option("--threads", type=click.IntRange(min=1), help="Of the CPU.  [default: as torch chooses]")
@click.option("--no-memory", is_flag=True, help="Leave out peak memory, which takes a process of its own each.")
@click.option("--plugin", "plugins", type=click.Path(path_type=Path), multiple=True, help="Python file with detectors.")
@click.option("--format", "form", default="table", show_default=True, help=f"{', '.join(FORMATS)}.")
@click.option("--from", "saved", type=click.Path(path_type=Path), help="Show a saved JSON file; nothing is measured.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to a file.")
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.pass_context
def command(ctx: click.Context, /, **options: Any) -> int:
    """Measure what detectors cost on this machine.

    Alone: items a second of each detector, and how much of that time is the network. With a command: check the
    numerics, or plan for a model that is not at hand.
    """
    if ctx.invoked_subcommand is None:
        return _throughput(**options)
    for parameter in ctx.command.params:
        if parameter.name and ctx.get_parameter_source(parameter.name) is click.core.ParameterSource.COMMANDLINE:
            raise UserError(
                f"{parameter.opts[0]} is no option before a command; give it after {ctx.invoked_subcommand}"
            )
    return 0


def _throughput(
    names: tuple[str, ...],
    compare: tuple[str, str] | None,
    reference: str,
    models: tuple[str, ...],
    sizes: tuple[int, ...],
    dtypes: tuple[str, ...],
    devices: tuple[str, ...],
    noise: Literal["shared", "per-item"] | None,
    accelerate: Mode,
    rounds: int,
    seconds: float,
    threads: int | None,
    no_memory: bool,
    plugins: tuple[Path, ...],
    form: str,
    saved: Path | None,
    out: Path | None,
    quiet: bool,
) -> int:
    from memdet.cli.output import show

    if form not in FORMATS:
        raise UserError(f"--format {form!r} is not known: {', '.join(FORMATS)}")
    several = max(map(len, (sizes, models, dtypes, devices))) > 1
    if compare and (names or several or saved or form not in {"table", "json"}):
        raise UserError(
            "--compare takes two detectors, one batch size, model, dtype and device, and --format table or json;"
            " it goes with neither --detector nor --from"
        )
    if saved is not None:
        from memdet.benching.throughput_table import read_throughput, throughput_table

        show(throughput_table(read_throughput(saved.read_text(encoding="utf-8"), str(saved)), form), out)
        return 0

    from memdet.detectors import detector_classes, make_detectors
    from memdet.samplesets import load_sample_set, load_suite

    classes = detector_classes(plugins)
    if compare:
        wanted = [None if name == "bare-forward" else make_detectors([name], classes)[0] for name in compare]
    else:
        wanted = [*make_detectors(names or load_suite("quick").detectors, classes)]
    sample_set = load_sample_set(reference)

    import shlex

    import torch

    from memdet.benching import throughput
    from memdet.benching.throughput_table import compared_row, compared_text, throughput_rows, throughput_table
    from memdet.cli.options import device_of
    from memdet.running.description import describe_machine

    if threads is not None:
        torch.set_num_threads(threads)
    rows = []
    for device, dtype, model in product(
        map(device_of, devices or ("auto",)), dtypes or ("float32",), models or (None,)
    ):
        options = throughput.BenchOptions(
            device=device,
            dtype=getattr(torch, dtype),
            noise=noise,
            accelerate=accelerate,
            rounds=rounds,
            most_seconds=seconds,
            memory=not no_memory,
        )
        machine = describe_machine(shlex.join(["memdet", *sys.argv[1:]]), device)
        machine["threads"] = torch.get_num_threads()
        if compare:
            first, second = wanted
            found = throughput.compare(first, second, sample_set, (sizes or (64,))[0], options, model=model)
            row = compared_row(found, machine)
            show(json.dumps(row, indent=1) if form == "json" else compared_text(row), out)
            return 0
        chosen = [detector for detector in wanted if detector is not None]
        measured = throughput.bench(chosen, sample_set, sizes or (64,), options, model=model, progress=not quiet)
        rows += throughput_rows(measured, machine)
    show(throughput_table(rows, form), out)
    return 1 if any(row["status"] in {"error", "nonfinite"} for row in rows) else 0


@command.command("numerics")
@click.option("--model", metavar="NAME_OR_DIR", help="Instead of the sample set's own.")
@click.option("--sample-set", "reference", metavar="SPEC", default="tiny-sd-a-verbatim", show_default=True)
@click.option("--detector", "names", multiple=True, metavar="NAME", help="name or name@option=value; can be repeated.")
@click.option("--items", type=int, default=48, show_default=True, help="How many, half of them memorized.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise.")
@click.option("--dtype", "dtypes", multiple=True, help="Can be repeated.  [default: float32, bfloat16, float16]")
@click.option("--attention", "kernels", multiple=True, help="Can be repeated.  [default: math, flash, efficient]")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@click.option("--format", "form", default="table", show_default=True, help="table, markdown, csv or json.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to a file; of a Markdown file the marked part.")
def numerics(
    model: str | None,
    reference: str,
    names: tuple[str, ...],
    items: int,
    seed: int,
    dtypes: tuple[str, ...],
    kernels: tuple[str, ...],
    device: str,
    form: str,
    out: Path | None,
) -> int:
    """Compare precisions, attention kernels and Jacobian backends with float64.

    A combination that the device cannot run is a row with the reason. With --format markdown, a file that exists keeps
    all that stands outside <!-- numerics: begin --> and <!-- numerics: end -->.
    """
    from memdet.detectors import detector_classes, make_detectors
    from memdet.samplesets import load_sample_set

    if items < 2:
        raise UserError(f"--items {items} is too few: an audit needs a memorized item and another one")
    detectors = make_detectors(names or DETECTORS, detector_classes())
    sample_set = load_sample_set(reference)

    from memdet.benching.numerics.audit import DTYPES, KERNELS, audit
    from memdet.benching.numerics.table import FORMATS, numerics_table, replace_between
    from memdet.cli.options import device_of
    from memdet.cli.output import show

    for option, given, known in (
        ("--dtype", dtypes, DTYPES),
        ("--attention", kernels, KERNELS),
        ("--format", (form,), FORMATS),
    ):
        for value in given:
            if value not in known:
                raise UserError(f"{option} {value!r} is not known: {', '.join(known)}")
    kept = out.read_text(encoding="utf-8") if out is not None and form == "markdown" and out.exists() else None
    if kept is not None:
        replace_between(kept, "")  # found out before the work
    found = audit(
        sample_set,
        detectors,
        model=model,
        items=items,
        seed=seed,
        dtypes=list(dict.fromkeys(dtypes)) or ("float32", "bfloat16", "float16"),
        kernels=list(dict.fromkeys(kernels)) or tuple(KERNELS),
        device=device_of(device),
        progress=True,
    )
    text = numerics_table(found, form)
    if out is None or kept is None:
        show(text, out)
    else:
        write_text(out, replace_between(kept, text))
    return 1 if any(measured.status == "error" for measured in found.measured) else 0


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
@click.option("--detector", "names", multiple=True, metavar="NAME", help="Can be repeated.  [default: all]")
@click.option("--batch-size", default="auto", show_default=True, help="Rows of a network call; auto: what fits.")
@click.option("--dtype", default="float16", show_default=True, help="float32, tf32, bfloat16 or float16.")
@click.option("--latent-size", type=click.IntRange(min=1), help="Height and width.  [default: the configuration's]")
@click.option("--steps", type=click.IntRange(1, 1_000), default=50, show_default=True, help="Of the trajectory.")
@click.option("--plugin", "plugins", type=click.Path(path_type=Path), multiple=True, help="Python file with detectors.")
@click.option("--format", "form", default="table", show_default=True, help="table, markdown, csv or json.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to a file.")
def plan(
    models: tuple[str, ...],
    device: str,
    names: tuple[str, ...],
    batch_size: str,
    dtype: str,
    latent_size: int | None,
    steps: int,
    plugins: tuple[Path, ...],
    form: str,
    out: Path | None,
) -> None:
    """Project what detectors cost on a model that nobody here runs.

    Counts FLOPs, bytes and memory of a UNet from its configuration, without weights, and divides by the published
    peaks of a device. A projection, not a measurement: the items a second are a ceiling.
    """
    from memdet.benching.projection.devices import device_named
    from memdet.cli.options import batch_size_of
    from memdet.cli.output import show
    from memdet.detectors import detector_classes, make_detectors

    batch, known = batch_size_of(batch_size), device_named(device, dtype)
    detectors = make_detectors(names or ("*",), detector_classes(plugins))

    from memdet.benching.projection import roofline as planning
    from memdet.benching.projection.table import FORMATS, plan_table
    from memdet.benching.projection.unet import read_unet_config

    if form not in FORMATS:
        raise UserError(f"--format {form!r} is not known: {', '.join(FORMATS)}")
    configs = [read_unet_config(name) for name in dict.fromkeys(models)]
    plans = [
        planning.plan(config, detectors, device, known, dtype, batch=batch, size=latent_size, steps=steps)
        for config in configs
    ]
    show(plan_table(plans, form), out)
