"""Generations of some items of a sample set, as PNG files that a later call finds again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from memdet.models import ScoreModel
from memdet.running.batching import probe_of
from memdet.samplesets import SampleSet

FOLDER = "generations"


def generate(
    sample_set: SampleSet,
    rows: Sequence[int],
    seeds: Sequence[int],
    model: ScoreModel,
    out: Path,
    *,
    batch_size: int,
    progress: bool = True,
) -> dict[int, list[Path]]:
    """Generate from items under the sample set's protocol, but for what is there already.

    The image of an item and seed is what a diffusers pipeline gives with the DDIM scheduler, the protocol's steps and
    guidance, and ``torch.Generator("cpu").manual_seed(seed)`` where the noise is shared.

    Args:
        sample_set: Whose items and protocol are taken; a directory serves one sample set alone.
        rows: Positions of items.
        seeds: Noise seeds.
        model: Of the items.
        out: Run directory.
        batch_size: Images at once.
        progress: Show a bar on standard error.

    Returns:
        Files of each row, one a seed, relative to ``out``.
    """
    files = {row: [Path(FOLDER) / f"{row:06d}-seed{seed:03d}.png" for seed in seeds] for row in rows}
    (out / FOLDER).mkdir(exist_ok=True)
    with tqdm(total=len(rows) * len(seeds), unit="image", desc=FOLDER, disable=not progress) as bar:
        for position, seed in enumerate(seeds):
            missing = [row for row in rows if not (out / files[row][position]).exists()]
            bar.update(len(rows) - len(missing))
            for start in range(0, len(missing), batch_size):
                batch = missing[start : start + batch_size]
                images = probe_of(sample_set.items.iloc[batch], sample_set, model, seed=seed).generated()
                for row, image in zip(batch, images, strict=True):
                    _write(image, out / files[row][position])
                bar.update(len(batch))
    return files


def _write(image: Tensor, path: Path) -> None:
    """Store ``[channels, height, width]`` in [0, 1] as an 8-bit PNG, all or nothing."""
    pixels = (image.detach().float().cpu().nan_to_num(0).clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    partial = path.with_suffix(".partial")
    try:
        Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(partial, format="PNG")
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, path)
