"""From a model, a folder and prompts to how often it gives back which image."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from memdet.errors import NotApplicableError, UserError
from memdet.extraction.compare import compare
from memdet.extraction.folder import TrainingFolder
from memdet.extraction.result import Extraction, ordered, share_of
from memdet.extraction.rule import neighbours_of
from memdet.extraction.sscd import Embedded
from memdet.extraction.training_images import Size, TrainingImages, read_images
from memdet.io_utils import json_text, write_text
from memdet.metrics import one_of_each
from memdet.running.batch_size import automatic_batch
from memdet.running.generations import FOLDER, save_generations
from memdet.samplesets.items import rows_sha256
from memdet.samplesets.prompts import Prompt, PromptFile, not_scanned, scan_set
from memdet.torch_state import in_own_state

if TYPE_CHECKING:
    from memdet.models import ScoreModel
    from memdet.samplesets import SampleSet

SETTINGS_FILE = "settings.json"


@dataclass(frozen=True)
class Asked:
    """What is generated.

    Attributes:
        prompts: To be tried.
        reference: Prompts that were never trained; those that are tried too are left out.
        steps, guidance, seeds: Of the generations; the noise is shared between prompts.
    """

    prompts: PromptFile
    reference: PromptFile | None
    steps: int
    guidance: float
    seeds: int


@dataclass(frozen=True)
class Known:
    """Training images of a folder at the size of a model's, with their SSCD embeddings where there are some."""

    folder: TrainingFolder
    images: TrainingImages
    embedded: Embedded


@in_own_state
def size_of(model: ScoreModel) -> Size:
    """Of the images that a model makes.

    Raises:
        UserError: It makes none.
    """
    try:
        with torch.no_grad():
            image = model.decode(torch.zeros(1, *model.latent_shape, device=model.device, dtype=model.dtype))
    except NotApplicableError as error:
        raise UserError(f"{model.name} makes no images: {error}") from None
    _, channels, height, width = image.shape
    return Size(width, height, channels)


def known_images(folder: TrainingFolder, model: ScoreModel, *, progress: bool = True) -> Known:
    """Read all training images of a folder as a model would have been trained on them.

    Args:
        folder: Of them.
        model: Whose images have the size that is read.
        progress: Show a bar, on a terminal alone.

    Raises:
        UserError: As for :func:`~memdet.extraction.training_images.read_images`, or one image alone.
    """
    embedded = Embedded()
    images = read_images(folder, size_of(model), embedded.add, progress=progress)
    neighbours_of(len(images.files))
    return Known(folder, images, embedded)


def reference_rows(reference: PromptFile | None, prompts: PromptFile, most: int | None = None) -> list[int]:
    """Positions in a scan's sample set of the reference prompts whose generations set the threshold.

    One of each family of near-duplicates is taken, since the others are no independent evidence.

    Args:
        reference, prompts: Of :func:`~memdet.samplesets.prompts.scan_set`.
        most: Of them; all if not given.
    """
    others: Sequence[Prompt] = not_scanned(prompts, reference) if reference else []
    if not others:
        return []
    first = len(prompts.prompts)  # after which they come
    return [first + int(index) for index in one_of_each([prompt.cluster for prompt in others])][:most]


def reported(
    model: ScoreModel,
    asked: Asked,
    known: Known,
    rows: Sequence[int],
    prompts: Mapping[int, Sequence[Path | None]],
    reference: Sequence[Sequence[Path | None]],
    root: Path,
) -> Extraction:
    """Hold generations against the training images, and count.

    Args:
        model, asked: As for :func:`measure`.
        known: From :func:`known_images`.
        rows: Positions of the prompts that are reported on.
        prompts: Files of their generations, one a seed, by position.
        reference: Files of the generations of reference prompts.
        root: The directory from which the files start.
    """
    found = compare(known.images, known.embedded, [prompts[row] for row in rows], reference, root)
    chosen = [asked.prompts.prompts[row] for row in rows]
    return Extraction(
        model=model.name,
        steps=asked.steps,
        guidance=asked.guidance,
        seeds=asked.seeds,
        prompts_from=_named(asked.prompts, known.folder),
        reference_from=asked.reference.path.name if asked.reference else None,
        folder=known.folder.path.resolve().name,
        files=len(known.folder.files),
        rule=found.rule,
        sscd=found.sscd,
        share=share_of(found, [prompt.cluster for prompt in chosen]),
        notes=known.images.notes,
        prompts=ordered(chosen, model.are_cut([prompt.text for prompt in chosen]), found),
    )


def measure(
    model: ScoreModel, folder: TrainingFolder, asked: Asked, out: Path, *, batch_size: int | None, progress: bool = True
) -> Extraction:
    """Generate, compare and count.

    Args:
        model: That was trained on the images.
        folder: Of them.
        asked: What to generate.
        out: Directory of the results; generations that are there already are kept.
        batch_size: Images at once; None takes what suits the device.
        progress: Show bars on a terminal.

    Raises:
        UserError: The folder does not fit to the model, or the directory holds generations of other settings.
    """
    items = scan_set(
        asked.prompts,
        asked.reference,
        model=model.name,
        steps=asked.steps,
        guidance=asked.guidance,
        seeds=asked.seeds,
    )
    known = known_images(folder, model, progress=progress)
    _check_settings(out, model, items)
    n = len(asked.prompts.prompts)
    reference = reference_rows(asked.reference, asked.prompts)
    batch, seeds = batch_size or automatic_batch(model), range(asked.seeds)
    files = save_generations(items, [*range(n), *reference], seeds, model, out, batch_size=batch, progress=progress)
    return reported(model, asked, known, range(n), files, [files[row] for row in reference], out)


def _named(prompts: PromptFile, folder: TrainingFolder) -> str:
    return "the captions of the training images" if prompts.path == folder.path else prompts.path.name


def _check_settings(out: Path, model: ScoreModel, items: SampleSet) -> None:
    """Keep what decides the generations of a directory, and refuse one that holds others.

    Further seeds and other training images are no other settings: what is there is kept and compared anew.
    """
    protocol = items.protocol
    asked = {
        "prompts": rows_sha256(items.items[["item_id", "condition"]].itertuples(index=False)),
        "model": model.fingerprint(),
        "steps": protocol.steps,
        "guidance": protocol.guidance,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    path = out / SETTINGS_FILE
    if path.is_file():
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            held = {}
        other = [name for name, value in asked.items() if not isinstance(held, dict) or held.get(name) != value]
        if other:
            raise UserError(
                f"`out` {out} holds generations of other settings ({', '.join(other)}): name another directory",
                parameters=("out",),
            )
    elif (out / FOLDER).is_dir() or (out / "run.json").exists():
        raise UserError(f"`out` {out} holds generations of something else: name another directory", parameters=("out",))
    write_text(path, json_text(asked) + "\n")
