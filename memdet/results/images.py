"""Generations from the items of a run, kept beside its scores in ``images.parquet``."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from memdet.errors import NotApplicableError, UserError
from memdet.results.conditions import Source
from memdet.results.store import write_table

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.models import ScoreModel

IMAGES = pa.schema(
    [
        ("model", pa.string()),
        ("condition", pa.string()),
        ("noise", pa.string()),
        ("steps", pa.int64()),
        ("guidance", pa.float64()),
        ("seed", pa.int64()),
        ("image", pa.binary()),
    ]
)
FILE = "images.parquet"
Key = tuple[str, str, str, int, float, int]
"""Model, condition, ``shared`` or the item's id, steps, guidance, seed: all that an image depends on."""


def key_of(source: Source, item: str, seed: int) -> Key:
    """Under which the generation of an item is kept; items of several sets can share it."""
    settings = source.settings
    noise = "shared" if settings["noise"] == "shared" else item
    return (source.model[item], source.condition[item], noise, settings["steps"], settings["guidance"], seed)


def read_images(run: Path) -> dict[Key, bytes]:
    """PNG of each generation that is kept; empty without the file.

    Raises:
        UserError: Damaged.
    """
    file = run / FILE
    if not file.is_file():
        return {}
    try:
        columns = pq.read_table(file, schema=IMAGES).to_pydict()
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{file} is damaged: {str(error).splitlines()[0]}; delete it") from None
    *names, image = columns.values()
    return dict(zip(zip(*names, strict=True), image, strict=True))


def make_images(run: Path, sources: Iterable[Source], generations: int, *, progress: bool = True) -> dict[Key, bytes]:
    """Generate from every item under noise seeds 0 to ``generations - 1``, but for what is kept already.

    Each sample set's own protocol holds. Sets of images, and models whose samples are none, are passed over.

    Args:
        run: Run directory; the file is written there.
        sources: Sample sets of the run.
        generations: An item.
        progress: Show a bar on standard error.

    Returns:
        All that is kept, as :func:`read_images` gives it.

    Raises:
        UserError: A model cannot be loaded, or the file is damaged.
    """
    import torch
    from tqdm import tqdm

    from memdet.models import load_model
    from memdet.running.batch_size import automatic_batch

    kept = read_images(run)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted: dict[Key, tuple[Source, str]] = {}
    for source in sources:
        if source.sample_set is not None and source.sample_set.task == "image":
            continue
        for item in source.condition:
            for seed in range(generations):
                key = key_of(source, item, seed)
                if key not in kept:
                    wanted.setdefault(key, (source, item))
    groups: dict[tuple[Any, ...], list[Key]] = {}
    for key in wanted:
        model, _, _, steps, guidance, seed = key
        groups.setdefault((model, steps, guidance, seed), []).append(key)
    models: dict[str, ScoreModel] = {}
    with tqdm(total=len(wanted), desc="generations", unit="image", disable=not (progress and wanted)) as bar:
        for (name, *_), keys in groups.items():
            if name not in models:
                models = {name: load_model(name, device=device)}
            if not _makes_images(models[name]):
                bar.total = (bar.total or 0) - len(keys)
                continue
            size = automatic_batch(models[name])
            for start in range(0, len(keys), size):
                batch = keys[start : start + size]
                images = _generate(models[name], batch, [wanted[key] for key in batch])
                kept.update(zip(batch, map(_png, images), strict=True))
                bar.update(len(batch))
            _write(run, kept)
    return kept


def _makes_images(model: ScoreModel) -> bool:
    import torch

    try:
        model.decode(torch.zeros(1, *model.latent_shape, device=model.device, dtype=model.dtype))
    except NotApplicableError:
        return False
    return True


def _generate(model: ScoreModel, keys: Sequence[Key], of: Sequence[tuple[Source, str]]) -> Tensor:
    """Images of keys that differ in condition and item alone."""
    from memdet.probing import Items, Probe

    source, _ = of[0]
    _, _, _, steps, guidance, seed = keys[0]
    ids = [item for _, item in of]
    items = Items(ids, [key[1] for key in keys], ids, [0] * len(ids), has_prompts=model.takes_prompts)
    noise = source.settings["noise"]
    return Probe(model, items, seed=seed, steps=steps, guidance=guidance, noise=noise).generated()


def table_of_images(kept: Mapping[Key, bytes]) -> pa.Table:
    """What :func:`read_images` gives, as the table of its file; one image or more."""
    columns = zip(*((*key, image) for key, image in kept.items()), strict=True)
    return pa.table(dict(zip(IMAGES.names, map(list, columns), strict=True)), schema=IMAGES)


def _write(run: Path, kept: dict[Key, bytes]) -> None:
    if kept:
        write_table(table_of_images(kept), run / FILE)


def _png(image: Tensor) -> bytes:
    """An image ``[channels, height, width]`` in [0, 1] as PNG."""
    import numpy as np
    from PIL import Image

    pixels = (image.detach().double().cpu().numpy() * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(buffer, format="PNG")
    return buffer.getvalue()
