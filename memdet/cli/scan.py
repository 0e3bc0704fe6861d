"""``memdet scan``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memdet.cli import options
from memdet.cli.completion import detector_names, offered
from memdet.cli.output import wrote
from memdet.cli.places import FOLDER, default_directory, name_of_model
from memdet.errors import UserError
from memdet.io_utils import write_text

if TYPE_CHECKING:
    from memdet.detectors import Detector
    from memdet.extraction import TrainingFolder
    from memdet.extraction.measure import Known
    from memdet.models import ScoreModel
    from memdet.models.load_options import LoadOptions
    from memdet.results import Run
    from memdet.running import RunOptions
    from memdet.samplesets import PromptFile, SampleSet

IMAGES_A_PROMPT = 4


@dataclass(frozen=True)
class Given:
    """What the command line says; the help of each option says what it means."""

    model: str
    loading: LoadOptions
    prompts_file: Path
    reference_file: Path | None
    training_images: Path | None
    column: str | None
    name: str
    fpr: float
    seeds: int
    steps: int
    guidance: float
    top: int
    device: str
    dtype: str
    batch_size: str
    out: Path | None
    plugins: tuple[Path, ...]
    offline: bool
    form: str
    quiet: bool


@click.command("scan")
@click.option("--model", required=True, metavar="MODEL", help="A directory, a hub id or FILE.py:FUNCTION.")
@options.loading
@click.option(
    "--prompts",
    "prompts_file",
    required=True,
    type=options.UserPath(),
    metavar="FILE",
    help=".txt (one a line), .csv, .tsv, .parquet, .jsonl or .json (id and cluster if wanted), or OWNER/NAME:SPLIT of "
    "the hub.",
)
@click.option(
    "--reference",
    "reference_file",
    type=options.UserPath(),
    metavar="FILE",
    help="Prompts like these that the model cannot have copied from; without it there is no threshold.",
)
@options.training_images(
    text="The generations are held against them, by a threshold from generations of up to 99 reference prompts."
)
@options.column("Of the prompts in those files.")
@click.option(
    "-d",
    "--detector",
    "name",
    metavar="NAME",
    default="curvature-gap",
    show_default=True,
    help="name or name@option=value.",
    shell_complete=offered(detector_names),
)
@click.option("--fpr", type=float, default=0.01, show_default=True, help="False positive rate of the threshold.")
@click.option("--seeds", type=click.IntRange(min=1), default=4, show_default=True, help="Noise seeds 0 to N-1.")
@options.steps("Of DDIM.", 50)
@options.guidance("Classifier-free guidance.", 7.5)
@click.option(
    "--top",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Generate from so many of the highest prompts, and from as many around the threshold.",
)
@options.device
@options.dtype
@options.batch_size("Prompts at once: a number, or auto. A batch that does not fit into memory is halved.")
@options.out(
    "Run directory.  [default: runs/scan-PROMPTS-MODEL, with a number where that holds another scan]", made="directory"
)
@options.plugins()
@options.offline("Open no connection; what is of the hub must be cached.")
@options.form(["table", "json", "csv"])
@options.quiet
@options.view(writes=False)
@options.into(Given)
def command(given: Given) -> int:
    """Rank a model owner's own prompts by risk, and look at what the model makes of them.

    Prompts and reference are scored alike in one run. The reference gives each prompt a rank, and the list a threshold
    of a stated false positive rate with its interval. Writes OUT/scan.json and OUT/scan.html, the page with the
    generations. With --training-images the generations stand beside their nearest training images. The same command
    resumes an interrupted scan.
    """
    if not 0 < given.fpr < 1:
        raise UserError(f"--fpr {given.fpr} is not between 0 and 1: write .01 for one false positive in a hundred")

    from memdet.samplesets import Fetcher, read_prompts, scan_set

    detectors = _detectors(given.name, given.plugins)
    files = [path for path in (given.prompts_file, given.reference_file) if path is not None]
    read = [read_prompts(path, column=given.column, fetcher=Fetcher(offline=given.offline)) for path in files]
    prompts, reference = read[0], read[1] if len(read) > 1 else None
    items = scan_set(
        prompts,
        reference,
        model=given.model,
        steps=given.steps,
        guidance=given.guidance,
        seeds=given.seeds,
    )
    folder = _folder(given)
    model = _load(given)
    known = _known(folder, model, progress=not given.quiet)
    run = _run(given, items, detectors, model)

    from memdet.scan import FORMATS, to_html, to_look_at, undrawn

    assert run.path is not None
    result = _result(given, prompts, reference, detectors[0].label, model, run)
    chosen = to_look_at(result, given.top)
    _generate(result, [*chosen[0], *chosen[1]], items, model, run, progress=not given.quiet)
    extraction = None
    if known is not None:
        from memdet.extraction.measure import Asked
        from memdet.scan.training import against_training_images

        asked = Asked(prompts, reference, given.steps, given.guidance, min(given.seeds, IMAGES_A_PROMPT))
        how: Any = {"batch_size": _batch(run), "progress": not given.quiet}
        extraction = against_training_images(result, items, model, known, asked, run.path, **how)
    _note(run, undrawn(result))
    write_text(run.path / "scan.json", FORMATS["json"](result, extraction) + "\n")
    page = to_html(result, *chosen, run=run, extraction=extraction, training=given.training_images)
    write_text(run.path / "scan.html", page)
    click.echo(FORMATS[given.form](result, extraction))
    follow = None if given.reference_file else "memdet scan with --reference FILE, for a threshold"
    wrote(run.path / "scan.html", "Page with generations", follow=follow or f"open {run.path / 'scan.html'}")
    return 0 if result["prompts"]["scored"] == result["prompts"]["distinct"] and not undrawn(result) else 1


def _result(
    given: Given, prompts: PromptFile, reference: PromptFile | None, label: str, model: ScoreModel, run: Run
) -> dict[str, Any]:
    """The ranking and its threshold, before anything is generated."""
    from memdet.scan import scan_result

    texts = [prompt.text for prompt in prompts.prompts]
    cut = {text for text, is_cut in zip(texts, model.are_cut(texts), strict=True) if is_cut}
    messages = run.manifest.messages_of("scan", label)
    scores = run.score_rows()
    if set(scores.loc[scores["detector"] == label, "status"]) == {"not-applicable"}:
        raise UserError(
            f"{given.name} is not applicable to {given.model}: {'; '.join(messages)}; choose another --detector and"
            " --out"
        )
    result = scan_result(scores, prompts, reference, detector=label, fpr=given.fpr, cut=cut, messages=messages)
    return {"model": model.name, "steps": given.steps, "guidance": given.guidance, **result}


def _note(run: Run, n_undrawn: int) -> None:
    """Keep in the manifest how many pictures could not be drawn, this time."""
    from memdet.results import Manifest
    from memdet.running.generations import FOLDER
    from memdet.tables.numbers import undrawn_pictures

    assert run.path is not None
    manifest = Manifest.read(run.path)
    before = manifest.messages.get("scan", {})
    after = {label: texts for label, texts in before.items() if label != FOLDER}
    after |= {FOLDER: [undrawn_pictures(n_undrawn)]} if n_undrawn else {}
    if after != before:
        manifest.model_copy(update={"messages": manifest.messages | {"scan": after}}).write(run.path)


def _folder(given: Given) -> TrainingFolder | None:
    """The training images, if there are some to compare with."""
    if given.training_images is None:
        return None
    if given.top == 0:
        raise UserError("--top 0 generates nothing that --training-images could be compared with; leave one out")

    from memdet.extraction import open_folder

    return open_folder(given.training_images, given.out or FOLDER / _name(given))


def _known(folder: TrainingFolder | None, model: ScoreModel, *, progress: bool) -> Known | None:
    """The training images, read before anything is scored."""
    if folder is None:
        return None

    from memdet.extraction.measure import known_images

    return known_images(folder, model, progress=progress)


def _name(given: Given) -> str:
    return f"scan-{given.prompts_file.stem}-{name_of_model(given.model)}{given.loading.suffix}"


def _how(given: Given) -> RunOptions:
    batch_size = options.batch_size_of(given.batch_size)

    import torch

    from memdet.running import RunOptions
    from memdet.samplesets import Fetcher

    return RunOptions(
        device=options.device_of(given.device),
        dtype=getattr(torch, given.dtype),
        batch_size=batch_size,
        fetcher=Fetcher(offline=given.offline),
        loading={given.model: given.loading},
    )


def _load(given: Given) -> ScoreModel:
    how = _how(given)

    from memdet.models import load_model

    model = load_model(given.model, device=how.device, dtype=how.dtype, fetcher=how.fetcher, options=given.loading)
    if not model.takes_prompts:
        raise UserError(f"--model {given.model} is not conditioned on text, so there are no prompts to scan")
    return model


def _run(given: Given, items: SampleSet, detectors: list[Detector], model: ScoreModel) -> Run:
    """Score prompts and reference."""
    from memdet.running import run
    from memdet.running.memory import keep_freed_memory

    keep_freed_memory()
    return run(
        [items],
        detectors,
        given.out or default_directory(_name(given), [items], detectors),
        _how(given),
        models={given.model: model},
        command=shlex.join(["memdet", *sys.argv[1:]]),
        progress=not given.quiet,
    )


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
    result: dict[str, Any], chosen: list[int], items: SampleSet, model: ScoreModel, run: Run, *, progress: bool
) -> None:
    """Generate from the chosen rows of the ranking, and note the files in them; None for what could not be drawn."""
    from memdet.running.generations import save_generations

    if not chosen:
        return
    assert run.path is not None
    positions = {item: position for position, item in enumerate(items.items["item_id"])}
    rows = {index: positions[f"prompt:{result['ranking'][index]['id']}"] for index in chosen}
    seeds = range(min(items.protocol.seeds, IMAGES_A_PROMPT))
    places = list(rows.values())
    files = save_generations(items, places, seeds, model, run.path, batch_size=_batch(run), progress=progress)
    for index, position in rows.items():
        result["ranking"][index]["generations"] = [
            {"seed": seed, "file": None if file is None else file.as_posix()}
            for seed, file in zip(seeds, files[position], strict=True)
        ]


def _batch(run: Run) -> int:
    """Images at once, as many as were scored at once."""
    return max(1, run.manifest.settings.sample_sets[0].batch_size or 1)  # 0 where all is scored in one call
