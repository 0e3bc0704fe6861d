"""``memdet extract``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memdet.cli import options
from memdet.cli.output import wrote
from memdet.cli.places import FOLDER, name_of_model
from memdet.errors import UserError
from memdet.io_utils import write_text

if TYPE_CHECKING:
    from memdet.extraction import Extraction
    from memdet.models import ScoreModel
    from memdet.models.load_options import LoadOptions


@dataclass(frozen=True)
class Given:
    """What the command line says; the help of each option says what it means."""

    model: str
    loading: LoadOptions
    training_images: Path
    prompts: Path | None
    reference_prompts: Path | None
    column: str | None
    seeds: int
    steps: int
    guidance: float
    device: str
    dtype: str
    batch_size: str
    out: Path | None
    offline: bool
    form: str
    quiet: bool


@click.command("extract")
@click.argument("model", metavar="MODEL")
@options.loading
@options.training_images(required=True)
@click.option(
    "--prompts",
    type=options.UserPath(),
    metavar="FILE",
    help="Prompts to try: .txt (one a line), .csv, .tsv, .parquet, .jsonl, .json or "
    "OWNER/NAME:SPLIT of the hub.  [default: the captions beside the "
    "training images]",
)
@click.option(
    "--reference-prompts",
    type=options.UserPath(),
    metavar="FILE",
    help="Prompts like these that were never trained: their generations set the threshold.",
)
@options.column("Of the prompts in those files, and of the captions in metadata.")
@click.option("--seeds", type=click.IntRange(min=1), default=8, show_default=True, help="Noise seeds 0 to N-1.")
@options.steps("Of DDIM.", 50)
@options.guidance("Classifier-free guidance.", 7.5)
@options.device
@options.dtype
@options.batch_size("Images at once: a number, or auto. A batch that does not fit into memory is halved.")
@options.out("Directory of the results.  [default: runs/extract-FOLDER-MODEL]", made="directory")
@options.offline("Open no connection; a hub model must be cached.")
@options.form(["table", "json", "csv"])
@options.quiet
@options.view(writes=False)
@options.into(Given)
def command(given: Given) -> int:
    """Measure how often MODEL gives back its own training images.

    Generates from every prompt with several noise seeds and finds the nearest training image of each generation. No
    detector takes part. Writes OUT/extraction.html (pairs of pictures), pairs.png, generations.csv, extraction.json and
    samples.csv, which memdet run --samples reads. The same command resumes where it was interrupted.
    """
    batch_size = options.batch_size_of(given.batch_size)

    from memdet.extraction import captions_of, open_folder, prompts_of
    from memdet.samplesets import Fetcher, read_prompts

    fetcher = Fetcher(offline=given.offline)
    out = given.out or FOLDER / f"extract-{given.training_images.resolve().name}-{_name(given)}"
    folder = open_folder(given.training_images, out)
    if given.prompts is None:
        prompts = prompts_of(folder, captions_of(folder, given.column))
    else:
        prompts = read_prompts(given.prompts, column=given.column, fetcher=fetcher)
    reference = None
    if given.reference_prompts is not None:
        reference = read_prompts(given.reference_prompts, column=given.column, fetcher=fetcher)
    model = _load(given)

    from memdet.extraction.measure import Asked, measure

    asked = Asked(prompts, reference, given.steps, given.guidance, given.seeds)
    found = measure(model, folder, asked, out, batch_size=batch_size, progress=not given.quiet)

    from memdet.extraction.files import write_results
    from memdet.extraction.text import FORMATS

    write_results(found, out, given.training_images)
    _write_page(found, out, given, model)

    click.echo(FORMATS[given.form](found))
    follow = f"memdet run --model {given.model} --samples {out / 'samples.csv'}"
    wrote(out / "extraction.html", "Page with pairs of pictures", follow=follow)
    return 1 if found.undrawn else 0


def _name(given: Given) -> str:
    return f"{name_of_model(given.model)}{given.loading.suffix}"


def _load(given: Given) -> ScoreModel:
    import torch

    from memdet.models import load_model
    from memdet.running.memory import keep_freed_memory
    from memdet.samplesets import Fetcher

    model = load_model(
        given.model,
        device=options.device_of(given.device),
        dtype=getattr(torch, given.dtype),
        fetcher=Fetcher(offline=given.offline),
        options=given.loading,
    )
    if not model.takes_prompts:
        raise UserError(f"{given.model} is not conditioned on text, so there are no prompts to generate from")
    keep_freed_memory()
    return model


def _write_page(found: Extraction, out: Path, given: Given, model: ScoreModel) -> None:
    from importlib.metadata import version

    from memdet.extraction.page import to_html

    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers", "memdet"))
    made_by = {
        "Computed on": f"{model.device}, {given.dtype}, {packages}",
        "Model": f"sha256 {model.fingerprint()[:16]}",
    }
    write_text(out / "extraction.json", found.to_json() + "\n")
    write_text(out / "extraction.html", to_html(found, out, given.training_images, made_by))
