"""Pictures that are described rather than stored: small motifs pasted on a ground, drawn exactly from a few integers.

A row of a plan says what one picture shows. All arithmetic is on whole numbers, so that every machine draws the same
pixels, and a plan of thousands of pictures is smaller than a handful of them.
"""

from __future__ import annotations

import io
import lzma
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from memdet.given_files import LARGEST_IMAGES, LARGEST_TABLE, read_at_most, require_bytes, require_given
from memdet.io_utils import write_bytes

SIZE = 32  # height and width of a picture
PLACES = 3  # motifs that one picture can show
GROUND, DIRECTION, DIM, PASTES = slice(0, 6), 6, 7, 8  # columns of a plan
PASTE = 5  # columns of a paste: motif, longest side, top, left, mirrored
COLUMNS = PASTES + PLACES * PASTE
NO_MOTIF = -1
ATLAS_FILE = "clip-art-motifs.npy.xz"
PLAIN, DOWN, RIGHT = range(3)  # directions of a ground: one colour, or from one to another


def empty_plan(count: int) -> NDArray[np.int16]:
    """A plan of black pictures without motifs, ``[count, COLUMNS]``.

    The columns are: two colours (red, green, blue), the direction from one to the other, the brightness in percent, and
    for each of `PLACES` motifs its number in the atlas (or `NO_MOTIF`), the longest side in pixels, the place of its
    upper left corner, and whether it is mirrored.
    """
    plan = np.zeros((count, COLUMNS), dtype=np.int16)
    plan[:, DIM] = 100
    plan[:, PASTES::PASTE] = NO_MOTIF
    return plan


def draw(plan: NDArray[np.int16], atlas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Draw the pictures of a plan.

    Args:
        plan: A row a picture, as :func:`empty_plan` describes it.
        atlas: Motifs with their transparency, ``[n, side, side, 4]``, each in the upper left corner of its square.

    Returns:
        ``[len(plan), SIZE, SIZE, 3]``.

    Raises:
        ValueError: The plan has other columns, or names a motif that the atlas lacks.

    Example:
        >>> plan = empty_plan(1)
        >>> plan[0, GROUND] = [200, 100, 0, 200, 100, 0]
        >>> draw(plan, np.zeros((1, 2, 2, 4), dtype=np.uint8))[0, 5, 7].tolist()
        [200, 100, 0]
    """
    if plan.ndim != 2 or plan.shape[1] != COLUMNS:
        raise ValueError(f"a plan has {COLUMNS} columns, not the shape {list(plan.shape)}")
    motifs = plan[:, PASTES::PASTE]
    if motifs.size and not NO_MOTIF <= motifs.min() <= motifs.max() < len(atlas):
        raise ValueError(f"a plan names motif {motifs.max()} of an atlas of {len(atlas)}")
    pictures = np.empty((len(plan), SIZE, SIZE, 3), dtype=np.uint8)
    resized: dict[tuple[int, int], NDArray[np.int64]] = {}
    for picture, row in zip(pictures, plan.astype(np.int64), strict=True):
        canvas = _ground(row)
        for paste in row[PASTES:].reshape(PLACES, PASTE):
            motif, longest, top, left, mirrored = paste.tolist()
            if motif == NO_MOTIF:
                continue
            if (motif, longest) not in resized:
                resized[motif, longest] = shrink(_trimmed(atlas[motif]), longest)
            layers = resized[motif, longest]
            _paste(canvas, layers[:, ::-1] if mirrored else layers, top, left)
        picture[:] = (canvas * row[DIM] + 50) // 100
    return pictures


def shrink(motif: NDArray[np.uint8], longest: int) -> NDArray[np.int64]:
    """Average a motif over the squares of a coarser grid, exactly.

    Args:
        motif: ``[height, width, 4]``, red, green, blue and opacity.
        longest: Pixels of the longer side of the result; at least 1.

    Returns:
        ``[height, width, 4]``: colours times opacity over 255 in units of 1/256, and opacity in the same units.
    """
    height, width = motif.shape[:2]
    rows, columns = shrunk(motif.shape[:2], longest)
    alpha = motif[..., 3:].astype(np.float64)
    layers = np.concatenate([motif[..., :3] * alpha, 255 * alpha], axis=2)
    # Sums of whole numbers below 2 ** 53 are exact in float64, in whatever order they are taken.
    summed = _overlaps(width, columns) @ np.tensordot(_overlaps(height, rows), layers, axes=1)
    exact: NDArray[np.int64] = (summed.astype(np.int64) * 256) // (height * width * 255)
    return exact


def shrunk(sides: tuple[int, ...], longest: int) -> tuple[int, int]:
    """Height and width whose longer one is given, in the ratio of others.

    Example:
        >>> shrunk((100, 50), 24)
        (24, 12)
    """
    height, width = (max(1, (side * longest + max(sides) // 2) // max(sides)) for side in sides)
    return height, width


def extent(square: NDArray[np.uint8]) -> tuple[int, int]:
    """Height and width of a motif in its square of an atlas."""
    height, width = _trimmed(square).shape[:2]
    return height, width


def read_plan(path: Path, atlas: Path) -> NDArray[np.uint8]:
    """The pictures of a plan in a file.

    Args:
        path: ``.npy`` of int16 compressed by xz.
        atlas: The motifs, ``.npy`` of uint8 compressed by xz.

    Raises:
        ValueError: It is no plan, or not one of this atlas.
        OSError: One of the files cannot be read.
    """
    plan = read_array(path)
    require_bytes(path, len(plan) * SIZE * SIZE * 3, LARGEST_IMAGES)
    return draw(plan, read_atlas(atlas))


@lru_cache(maxsize=1)
def read_atlas(path: Path) -> NDArray[np.uint8]:
    """The motifs of an atlas, ``[n, side, side, 4]``."""
    return read_array(path)


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Write an atlas or a plan as ``.npy`` compressed by xz."""
    raw = io.BytesIO()
    np.save(raw, array)
    write_bytes(path, lzma.compress(raw.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def read_array(path: Path) -> NDArray[Any]:
    """Read what :func:`write_array` wrote."""
    require_given(path, LARGEST_TABLE)
    with lzma.open(path) as file:
        return np.asarray(np.load(io.BytesIO(read_at_most(file, path)), allow_pickle=False))


def _ground(row: NDArray[np.int64]) -> NDArray[np.int64]:
    """A canvas of one colour, or of one that becomes another."""
    first, last = row[GROUND].reshape(2, 3)
    if row[DIRECTION] == PLAIN:
        return np.broadcast_to(first, (SIZE, SIZE, 3)).copy()
    share = np.arange(SIZE)[:, None]
    line = (first * (SIZE - 1 - share) + last * share + SIZE // 2) // (SIZE - 1)
    canvas = line[:, None] if row[DIRECTION] == DOWN else line[None]
    return np.broadcast_to(canvas, (SIZE, SIZE, 3)).copy()


def _paste(canvas: NDArray[np.int64], layers: NDArray[np.int64], top: int, left: int) -> None:
    """Lay a motif over a canvas in place; what lies outside is cut."""
    height, width = layers.shape[:2]
    above, before = max(0, -top), max(0, -left)
    below, after = min(height, SIZE - top), min(width, SIZE - left)
    if below <= above or after <= before:
        return
    part = layers[above:below, before:after]
    under = canvas[top + above : top + below, left + before : left + after]
    full = 255 * 256
    under[:] = np.minimum((part[..., :3] * 255 + under * (full - part[..., 3:]) + full // 2) // full, 255)


def _trimmed(square: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A motif without the empty rest of its square."""
    seen = square[..., 3] > 0
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        return square
    return square[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _overlaps(pixels: int, cells: int) -> NDArray[np.float64]:
    """How much of each pixel lies in each of so many equal cells, in whole numbers, ``[cells, pixels]``."""
    cell, pixel = np.arange(cells)[:, None], np.arange(pixels)[None]
    end = np.minimum((cell + 1) * pixels, (pixel + 1) * cells)
    start = np.maximum(cell * pixels, pixel * cells)
    shared: NDArray[np.float64] = np.maximum(0, end - start).astype(np.float64)
    return shared
