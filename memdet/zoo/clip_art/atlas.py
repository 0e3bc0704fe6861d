"""The motifs that ship with memdet, cut out of Debian's package ``openclipart-png`` and made small."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.io_utils import replacing
from memdet.models.diffusers.compositions import ATLAS_FILE, extent, read_atlas, shrunk, write_array
from memdet.models.diffusers.training_images import shipped_training_images
from memdet.zoo.clip_art.package import COLOURS, DIRECTORY, make_atlas

NAMES_FILE = "clip-art-motifs.csv"
_HUES = (  # ends of what each colour is on the circle of hues
    (0.04, "red"),
    (0.11, "orange"),
    (0.19, "yellow"),
    (0.44, "green"),
    (0.70, "blue"),
    (0.83, "purple"),
    (0.94, "pink"),
    (1.01, "red"),
)
_MOST = 0.6  # share of what is seen of a motif that has the colour which is said of it


@dataclass(frozen=True)
class Atlas:
    """Motifs and their names.

    Attributes:
        motifs: With transparency, ``[n, side, side, 4]``.
        names: What each shows, as captions say it.
    """

    motifs: NDArray[np.uint8]
    names: list[str]

    @cached_property
    def colours(self) -> list[str]:
        """The colour of each motif; empty where it has several, or its name says one."""
        return [
            "" if COLOURS & set(name.split()) else colour_of(motif)
            for motif, name in zip(self.motifs, self.names, strict=True)
        ]

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """Mean red, green and blue of what is seen of each motif, ``[n, 3]``."""
        alpha = self.motifs[..., 3:].astype(np.float64)
        means: NDArray[np.float64] = (self.motifs[..., :3] * alpha).sum(axis=(1, 2)) / alpha.sum(axis=(1, 2))
        return means

    @cached_property
    def _extents(self) -> list[tuple[int, int]]:
        return [extent(motif) for motif in self.motifs]

    def size(self, motif: int, longest: int) -> tuple[int, int]:
        """Height and width of a motif whose longest side is given, in pixels."""
        return shrunk(self._extents[motif], longest)


@lru_cache(maxsize=1)
def load_atlas() -> Atlas:
    """The atlas that ships with memdet."""
    folder = shipped_training_images()
    return Atlas(read_atlas(folder / ATLAS_FILE), pd.read_csv(folder / NAMES_FILE)["name"].tolist())


def write_atlas(folder: Path, directory: Path = DIRECTORY) -> None:
    """Make the atlas again from the pictures of Debian's package, and write its two files.

    Args:
        folder: Where to.
        directory: The pictures of the package.

    Raises:
        UserError: The package is not installed.
    """
    table, motifs = make_atlas(directory)
    write_array(folder / ATLAS_FILE, motifs)
    with replacing(folder / NAMES_FILE) as temporary:
        table.to_csv(temporary, index=False)


def colour_of(motif: NDArray[np.uint8]) -> str:
    """The colour of most of what is seen of a motif; empty where no colour has most of it."""
    seen = motif[motif[..., 3] > 128][:, :3]
    counts: dict[str, int] = {}
    for red, green, blue in (seen / 255.0).tolist():
        colour = _colour(*colorsys.rgb_to_hls(red, green, blue))
        counts[colour] = counts.get(colour, 0) + 1
    most = max(counts, key=counts.__getitem__, default="")
    return most if most and counts[most] > _MOST * len(seen) else ""


def _colour(hue: float, lightness: float, saturation: float) -> str:
    if lightness < 0.13:
        return "black"
    if lightness > 0.92:
        return "white"
    if saturation < 0.18:
        return "grey"
    named = next(name for end, name in _HUES if hue < end)
    return "brown" if named == "orange" and lightness < 0.42 else named
