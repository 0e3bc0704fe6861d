"""``memdet scan``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memdet.cli.options import batch_size_or_measure, device_of
from memdet.errors import UserError
from memdet.io_utils import write_text

if TYPE_CHECKING:
    from memdet.detectors import Detector
    from memdet.models import ScoreModel
    from memdet.samplesets import SampleSet

IMAGES_A_PROMPT = 4


@click.command("scan")
@click.option("--model", required=True, metavar="DIR_OR_HUB_ID", help="In the Stable Diffusion pipeline format.")
@click.option(
    "--prompts",
    "prompts_file",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=".txt (one a line), .jsonl or .csv (key or column prompt; id and cluster if wanted).",
)
@click.option(
    "--reference",
    "reference_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Prompts like these that the model cannot have copied from; without it there is no threshold.",
)
@click.option("--detector", "name", default="curvature-gap", show_default=True, help="name or name@option=value.")
@click.option("--fpr", type=float, default=0.01, show_default=True, help="False positive rate of the threshold.")
@click.option("--seeds", type=click.IntRange(min=1), default=4, show_default=True, help="Noise seeds 0 to N-1.")
@click.option("--steps", type=click.IntRange(min=1), default=50, show_default=True, help="Of DDIM.")
@click.option("--guidance", type=float, default=7.5, show_default=True, help="Classifier-free guidance.")
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Generate from so many of the highest prompts, and from as many around the threshold.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")
@click.option(
    "--dtype", type=click.Choice(["float32", "float64", "bfloat16", "float16"]), default="float32", show_default=True
)
@click.option(
    "--batch-size",
    default="auto",
    show_default=True,
    help="Prompts at once: a number; measure; or auto, a rule on the CPU and a measurement elsewhere.",
)
@click.option(
    "--memory-budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="GB",
    help="What a measured batch may take beside the weights.  [default: .8 of what CUDA has free, .5 elsewhere]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Run directory.  [default: runs/scan-PROMPTS]")
@click.option("--plugin", "plugins", type=click.Path(path_type=Path), multiple=True, help="Python file with detectors.")
@click.option("--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True)
@click.option("--quiet", is_flag=True, help="No progress bars.")
def command(
    model: str,
    prompts_file: Path,
    reference_file: Path | None,
    name: str,
    fpr: float,
    seeds: int,
    steps: int,
    guidance: float,
    top: int,
    device: str,
    dtype: str,
    batch_size: str,
    memory_budget: float | None,
    out: Path | None,
    plugins: tuple[Path, ...],
    form: str,
    quiet: bool,
) -> int:
    """Rank a model owner's own prompts by risk, and look at what the model makes of them.

    Prompts and reference are scored alike in one run. The reference gives each prompt a rank, and the list a threshold
    of a stated false positive rate with its interval. Writes OUT/scan.json and OUT/scan.html, the page with the
    generations. The same command resumes an interrupted scan.
    """
    from memdet.samplesets import read_prompts, scan_set

    if not 0 < fpr < 1:
        raise UserError(f"--fpr {fpr} is not between 0 and 1: write .01 for one false positive in a hundred")
    detectors = _detectors(name, plugins)
    prompts = read_prompts(prompts_file)
    reference = read_prompts(reference_file) if reference_file else None
    items = scan_set(prompts, reference, model=model, steps=steps, guidance=guidance, seeds=seeds)
    batch = batch_size_or_measure(batch_size)

    import torch

    from memdet.models import load_model
    from memdet.running import RunOptions, read_scores, run
    from memdet.scan import FORMATS, scan_result, to_html, to_look_at

    options = RunOptions(
        device=device_of(device),
        dtype=getattr(torch, dtype),
        batch_size=batch,
        memory_budget=None if memory_budget is None else memory_budget * 1e9,
    )
    loaded = load_model(model, device=options.device, dtype=options.dtype)
    if not loaded.takes_prompts:
        raise UserError(f"--model {model} is not conditioned on text, so there are no prompts to scan")
    target = out or Path("runs") / f"scan-{prompts_file.stem}"
    invocation = shlex.join(["memdet", *sys.argv[1:]])
    manifest = run([items], detectors, target, options, models={model: loaded}, command=invocation, progress=not quiet)
    texts = [prompt.text for prompt in prompts.prompts]
    cut = {text for text, is_cut in zip(texts, loaded.are_cut(texts), strict=True) if is_cut}
    messages = manifest["messages"].get("scan", {}).get(detectors[0].label, [])
    scores = read_scores(target).to_pandas()
    if set(scores.loc[scores["detector"] == detectors[0].label, "status"]) == {"not-applicable"}:
        raise UserError(
            f"{name} is not applicable to {model}: {'; '.join(messages)}; choose another --detector and --out"
        )
    result = scan_result(scores, prompts, reference, detector=detectors[0].label, fpr=fpr, cut=cut, messages=messages)
    result = {"model": loaded.name, "steps": steps, "guidance": guidance, **result}
    chosen = to_look_at(result, top)
    _generate(result, [*chosen[0], *chosen[1]], items, loaded, target, manifest, progress=not quiet)
    write_text(target / "scan.json", FORMATS["json"](result) + "\n")
    write_text(target / "scan.html", to_html(result, *chosen, run=target, scores=scores, manifest=manifest))
    click.echo(FORMATS[form](result))
    click.echo(f"Page with generations: {target / 'scan.html'}", err=True)
    return 0 if result["prompts"]["scored"] == result["prompts"]["distinct"] else 1


def _detectors(name: str, plugins: tuple[Path, ...]) -> list[Detector]:
    """The detector that ranks, and the controls that read text alone."""
    from memdet.detectors import detector_classes, make_detector

    classes = detector_classes(plugins)
    chosen = make_detector(name, classes)
    if chosen.info.is_control:
        raise UserError(f"--detector {name} is a control, which never looks at the model; name another")
    if chosen.info.task == "image":
        raise UserError(f"--detector {name} reads images, not prompts; name another")
    controls = [cls() for cls in classes.values() if cls.info.access == "text" and not cls.info.supervised]
    return [chosen, *controls]


def _generate(
    result: dict[str, Any],
    chosen: list[int],
    items: SampleSet,
    model: ScoreModel,
    target: Path,
    manifest: dict[str, Any],
    *,
    progress: bool,
) -> None:
    """Generate from the chosen rows of the ranking, and note the files in them."""
    from memdet.running.generations import generate

    if not chosen:
        return
    positions = {item: position for position, item in enumerate(items.items["item_id"])}
    rows = {index: positions[f"prompt:{result['ranking'][index]['id']}"] for index in chosen}
    seeds = range(min(items.protocol.seeds, IMAGES_A_PROMPT))
    batch = max(1, manifest["settings"]["sample_sets"][0]["batch_size"])  # 0 where all is scored in one call
    files = generate(items, list(rows.values()), seeds, model, target, batch_size=batch, progress=progress)
    for index, position in rows.items():
        result["ranking"][index]["generations"] = [
            {"seed": seed, "file": file.as_posix()} for seed, file in zip(seeds, files[position], strict=True)
        ]
