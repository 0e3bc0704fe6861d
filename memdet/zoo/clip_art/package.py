"""From Debian's package ``openclipart-png`` (public domain) to an atlas of small motifs.

Only who makes the atlas again needs the package: the atlas ships with memdet.
"""

from __future__ import annotations

import math
import re
import struct
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from memdet.errors import UserError
from memdet.models.diffusers.compositions import shrink

SIDE = 24  # pixels of the longer side of a motif in the atlas
DIRECTORY = Path("/usr/share/openclipart/png")  # where Debian's package puts the pictures
_LEFT_OUT = re.compile(
    r"shapes/stars/star_|cards/(bordered|simple|ornamental|white)/|special/(patterns|gradients|examples)/"
)
COLOURS = frozenset(
    ["black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "beige"]
)
_LONGEST_STRIP = 3.0  # a motif that is so many times longer than wide is a line
_PLAINEST = 14.0  # standard deviation of brightness and opacity, in steps of 255, below which nothing is to be seen
_NEAREST = 20.0  # root mean square difference, in steps of 255, of two motifs that are told apart
_MOST_WORDS = 3
_MOST_PIXELS = 4_000_000  # eighteen pictures have up to 600 million


def make_atlas(directory: Path = DIRECTORY) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """Cut out, shrink and name the motifs of the package that can be told apart at this size.

    Args:
        directory: The pictures of the package.

    Returns:
        A row a motif, ``file, name``, and the motifs, ``[n, SIDE, SIDE, 4]``, each in the upper left corner.

    Raises:
        UserError: The package is not installed.
    """
    paths = sorted(path for path in directory.rglob("*.png") if not path.is_symlink()) if directory.is_dir() else []
    if not paths:
        raise UserError(f"{directory} holds no pictures: install Debian's package openclipart-png")
    files, motifs, known = [], [], _Known(len(paths))
    for path in paths:
        file = path.relative_to(directory).as_posix()
        if _LEFT_OUT.search(file) or not name_of(file):
            continue
        motif = thumbnail(path)
        if motif is not None and known.is_new(_over_grey(motif)):
            files.append(file)
            motifs.append(motif)
    return pd.DataFrame({"file": files, "name": [name_of(file) for file in files]}), np.stack(motifs)


def thumbnail(path: Path) -> NDArray[np.uint8] | None:
    """A picture without its transparent border, ``[SIDE, SIDE, 4]``; None where nothing is to be seen at this size."""
    with path.open("rb") as file:
        if math.prod(struct.unpack(">II", file.read(24)[16:])) > _MOST_PIXELS:
            return None
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGBA"))
    seen = pixels[..., 3] > 16
    if not seen.any():
        return None
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    cut = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = cut.shape[:2]
    if max(height, width) < SIDE // 2 or max(height, width) > _LONGEST_STRIP * min(height, width):
        return None
    layers = shrink(cut, SIDE)
    opacity = layers[..., 3:]
    colour = np.where(opacity > 0, (layers[..., :3] * 255 + opacity // 2) // np.maximum(opacity, 1), 0)
    square = np.zeros((SIDE, SIDE, 4), dtype=np.uint8)
    small = np.concatenate([colour, (opacity + 128) // 256], axis=2)
    square[: small.shape[0], : small.shape[1]] = np.where(small[..., 3:] > 0, np.minimum(small, 255), 0)
    plain = max(_over_grey(square)[: small.shape[0], : small.shape[1], channel].std() for channel in range(4))
    return square if plain >= _PLAINEST else None


def name_of(file: str) -> str:
    """Caption words of a file of the package, from its name and folder; empty where nothing says what it is.

    Example:
        >>> name_of("animals/birds/gufo_civetta_architetto__01.png")
        'owl'
    """
    known = glossary()
    *folders, stem = file.removesuffix(".png").lower().split("/")
    nation = "flags" in folders and not re.search(r"_\d*$", stem)  # what ends so names its author
    words: list[str] = []
    for token in re.findall("[a-z]+", re.sub(r"(?<=.)architett?o?.*|benji.*|ganson.*", "", stem)):
        said = known.get(token, token if nation and len(token) > 3 else "")
        words += [word for word in said.split() if word not in words]
    words.sort(key=lambda word: word not in COLOURS)  # "red arrow", whatever the order in the file's name
    kinds = [known[f"{folder}/"] for folder in folders if f"{folder}/" in known]
    kind = kinds[-1] if kinds else ""
    if kind.startswith("+"):  # a drawing of a lemon and an icon of one are two things
        words = [word for word in words if word not in kind[1:].split()][: _MOST_WORDS - 1]
        return " ".join([*words, kind[1:]]) if words or kind != "+icon" else ""
    if COLOURS.issuperset(words):
        words += kind.split()
    return " ".join(words[:_MOST_WORDS])


@lru_cache(maxsize=1)
def glossary() -> dict[str, str]:
    """Words that captions use, by what file names say: ``gufo`` is an owl, and authors' names are not among them.

    A folder (``birds/``) says what a picture is of whose name says nothing; with ``+`` it says so of all its pictures.
    """
    lines = resources.files("memdet.zoo.clip_art").joinpath("glossary.txt").read_text(encoding="utf-8").split()
    pairs = [line.partition("=") for line in lines]
    return {token: said.replace("_", " ") or token for token, _, said in pairs}


class _Known:
    """The motifs so far, to tell near-duplicates by."""

    def __init__(self, most: int) -> None:
        self._coarse = np.empty((most, 6 * 6 * 4), dtype=np.float32)
        self._whole: list[NDArray[np.float32]] = []

    def is_new(self, motif: NDArray[np.float32]) -> bool:
        """Whether no motif so far lies near this one, ``[SIDE, SIDE, 4]``; it is kept then."""
        coarse = motif.reshape(6, SIDE // 6, 6, SIDE // 6, 4).mean(axis=(1, 3)).ravel()
        apart = np.square(self._coarse[: len(self._whole)] - coarse).mean(axis=1)
        for index in np.flatnonzero(apart < _NEAREST**2):  # means of blocks lie no farther apart than what they are of
            if np.square(self._whole[index] - motif).mean() < _NEAREST**2:
                return False
        self._coarse[len(self._whole)] = coarse
        self._whole.append(motif)
        return True


def _over_grey(motif: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Colours over middle grey, and opacity."""
    alpha = motif[..., 3:].astype(np.float32)
    return np.concatenate([motif[..., :3] * (alpha / 255) + 128 * (1 - alpha / 255), alpha], axis=2)
