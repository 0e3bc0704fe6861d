"""Images that a model makes of items, for the page of a run and for a scan; what was made once is found again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from tqdm import tqdm

from memdet.errors import NotApplicableError, UserError
from memdet.io_utils import write_bytes
from memdet.models import load_model
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.models.device import device_named
from memdet.models.images import png_of
from memdet.probing import Context, Items, Probe
from memdet.results.conditions import Source
from memdet.results.differences import changed_names
from memdet.results.images import UNDRAWN, Key, key_of, read_images, write_images
from memdet.results.manifest import FILE, Manifest
from memdet.running.batch_size import automatic_batch
from memdet.running.memory import OutOfMemoryError, is_out_of_memory
from memdet.samplesets import Fetcher, Protocol, SampleSet
from memdet.torch_state import in_own_state

if TYPE_CHECKING:
    from memdet.models import ScoreModel

FOLDER = "generations"


@in_own_state
def generate(
    model: ScoreModel, ids: Sequence[str], conditions: Sequence[str], protocol: Protocol, seed: int
) -> list[bytes | None]:
    """Generate one image an item, as PNG; None where it could not be computed, having pixels that are not finite.

    The image of an item and seed is what a diffusers pipeline gives with the DDIM scheduler, the protocol's steps and
    guidance, and ``torch.Generator("cpu").manual_seed(seed)`` where the noise is shared.

    Args:
        model: That generates.
        ids, conditions: Of the items, which are one batch.
        protocol: Steps, guidance and noise.
        seed: Of the noise.

    Raises:
        NotApplicableError: The model's samples are not images.
    """
    items = Items(ids, conditions, ids, [0] * len(ids), has_prompts=model.takes_prompts)
    return [png_of(image) for image in Probe(model, items, Context(protocol, seed)).generated()]


@in_own_state
def make_images(
    directory: Path, sources: Iterable[Source], generations: int, *, progress: bool = True
) -> dict[Key, bytes]:
    """Generate from every item under noise seeds 0 to ``generations - 1``, but for what is kept already.

    Each sample set's own protocol holds, and models are loaded as the run loaded them: in its dtype, with its adapters,
    offline where it was, on its device where that is here. Sets of images, and models whose samples are none, are
    passed over.

    Args:
        directory: Of the run; ``images.parquet`` is written there.
        sources: Sample sets of the run.
        generations: An item.
        progress: Show a bar on standard error.

    Returns:
        All that is kept, as :func:`~memdet.results.images.read_images` gives it, empty for what could not be drawn.

    Raises:
        UserError: A model cannot be loaded or is not that of the run any more, or the file is damaged.
    """
    kept, sources = read_images(directory), list(sources)
    groups = _missing(kept, sources, generations)
    manifest = Manifest.read(directory) if (directory / FILE).is_file() else Manifest()
    models: dict[str, ScoreModel] = {}
    total = sum(map(len, groups.values()))
    with tqdm(total=total, desc=FOLDER, unit="image", disable=not (progress and total)) as bar:
        for (name, noise, steps, guidance, seed), wanted in groups.items():
            if name not in models:
                models = {name: _as_scored(name, sources, manifest)}
            if not _makes_images(models[name]):
                bar.total = (bar.total or 0) - len(wanted)
                continue
            protocol = Protocol(steps=steps, guidance=guidance, seeds=1, noise=noise)
            size = automatic_batch(models[name])
            keys = list(wanted)
            for start in range(0, len(keys), size):
                batch = keys[start : start + size]
                ids, conditions = [wanted[key] for key in batch], [key[1] for key in batch]
                made = generate(models[name], ids, conditions, protocol, seed)
                kept.update((key, image or UNDRAWN) for key, image in zip(batch, made, strict=True))
                bar.update(len(batch))
            write_images(directory, kept)
    return kept


def _as_scored(name: str, sources: Sequence[Source], manifest: Manifest) -> ScoreModel:
    """A model of a run, loaded as the run loaded it.

    Raises:
        UserError: It cannot be loaded, or is another one than then: its images would stand beside another one's scores.
    """
    entries = [source.entry for source in sources if source.entry is not None and name in source.model.values()]
    loading = manifest.loading.get(name)
    model = load_model(
        name,
        device=_device_of(manifest),
        dtype=getattr(torch, entries[0].dtype),
        fetcher=Fetcher(offline=manifest.offline),
        options=None if loading is None else loading.options,
    )
    for entry in entries:
        files, then = entry.model_files.get(name), entry.model_hashes.get(name)
        if files and files != (now := model.files()):
            what = f"the files of the model {name} changed since the run {changed_names(files, now)}"
        elif then and name not in CLOSED_FORM and then != model.fingerprint():  # a processor decides a form's digits
            what = f"the model {name} is another one than that of the run"
        else:
            continue
        raise UserError(
            f"{what}, so that its images would not be those of the scores: restore them, or score again into a new "
            "directory"
        )
    return model


def _device_of(manifest: Manifest) -> str:
    """The device of a run where it is here, else the fastest that is."""
    try:
        return device_named(manifest.settings.device or "auto")
    except UserError:
        return device_named("auto")


def save_generations(  # what, of what, and where
    sample_set: SampleSet,
    rows: Sequence[int],
    seeds: Sequence[int],
    model: ScoreModel,
    out: Path,
    *,
    batch_size: int,
    progress: bool = True,
) -> dict[int, list[Path | None]]:
    """Generate from some items under the sample set's protocol as files, but for those that are there already.

    A batch that does not fit into memory is halved.

    Args:
        sample_set: Whose items and protocol are taken; a directory serves one sample set alone.
        rows: Positions of items.
        seeds: Noise seeds.
        model: Of the items.
        out: Run directory.
        batch_size: Images at once.
        progress: Show a bar, on a terminal alone.

    Returns:
        Files of each row, one a seed, relative to ``out``; None where the image could not be computed.

    Raises:
        OutOfMemoryError: A single image does not fit into memory.
    """
    places = {row: [Path(FOLDER) / f"{row:06d}-seed{seed:03d}.png" for seed in seeds] for row in rows}
    with tqdm(total=len(rows) * len(seeds), unit="image", desc=FOLDER, disable=None if progress else True) as bar:
        for position, seed in enumerate(seeds):
            missing = [row for row in rows if not (out / places[row][position]).exists()]
            bar.update(len(rows) - len(missing))
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                part = sample_set.items.iloc[batch]
                ids, conditions = part["item_id"].tolist(), part["condition"].tolist()
                images = _fitting(model, ids, conditions, sample_set.protocol, seed)
                for row, image in zip(batch, images, strict=True):
                    if image is not None:
                        write_bytes(out / places[row][position], image)
                bar.update(len(batch))
    return {row: [at if (out / at).exists() else None for at in of_row] for row, of_row in places.items()}


def _fitting(
    model: ScoreModel, ids: Sequence[str], conditions: Sequence[str], protocol: Protocol, seed: int
) -> list[bytes | None]:
    """As :func:`generate`, by halves where the whole does not fit into memory."""
    try:
        return generate(model, ids, conditions, protocol, seed)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        if len(ids) == 1:
            raise OutOfMemoryError(FOLDER, 1) from error
    half = len(ids) // 2  # outside the handler, which would keep what the failed call held
    return [
        *_fitting(model, ids[:half], conditions[:half], protocol, seed),
        *_fitting(model, ids[half:], conditions[half:], protocol, seed),
    ]


_Noise = Literal["shared", "per-item"]
_Group = tuple[str, _Noise, int, float, int]


def _missing(kept: dict[Key, bytes], sources: Iterable[Source], generations: int) -> dict[_Group, dict[Key, str]]:
    """Keys that are not kept and an item of each, by model, noise, steps, guidance and seed."""
    groups: dict[_Group, dict[Key, str]] = {}
    for source in sources:
        if source.sample_set is not None and source.sample_set.task == "image":
            continue
        for item in source.condition:
            for seed in range(generations):
                key = key_of(source, item, seed)
                if not kept.get(key):
                    model, _, noise, steps, guidance, _ = key
                    kind: _Noise = "shared" if noise == "shared" else "per-item"
                    group = (model, kind, steps, guidance, seed)
                    groups.setdefault(group, {}).setdefault(key, item)
    return groups


def _makes_images(model: ScoreModel) -> bool:
    try:
        model.decode(torch.zeros(1, *model.latent_shape, device=model.device, dtype=model.dtype))
    except NotApplicableError:
        return False
    return True
