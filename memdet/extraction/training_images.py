"""Training images as a model of them was trained: resized, cropped at the centre, and each counted once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from memdet.errors import UserError
from memdet.extraction.folder import TrainingFolder
from memdet.samplesets.strict_yaml import first_line
from memdet.tables.numbers import counted

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_SIDE = 64
"""Pixels of the longer side at which images are compared; larger ones are averaged down to it."""
Pixels = NDArray[np.uint8]
Tally = defaultdict[str, list[Path]]
"""Files by what was done to them."""
_COLOURED = 8  # grey levels between the channels of a pixel; JPEG alone makes fewer
_SHOWN = 3


@dataclass(frozen=True)
class Size:
    """Of the images that a model makes."""

    width: int
    height: int
    channels: int

    @property
    def mode(self) -> str:
        """As Pillow names it."""
        return "L" if self.channels == 1 else "RGB"

    @property
    def compared(self) -> tuple[int, int]:
        """Width and height at which images are compared.

        Example:
            >>> Size(768, 512, 3).compared, Size(32, 32, 1).compared
            ((64, 43), (32, 32))
        """
        longest = max(self.width, self.height)
        if longest <= LARGEST_SIDE:
            return self.width, self.height
        width, height = (max(1, round(side * LARGEST_SIDE / longest)) for side in (self.width, self.height))
        return width, height


@dataclass(frozen=True)
class TrainingImages:
    """All distinct images of a folder.

    Attributes:
        folder: Where they lie.
        files: Of each distinct image the first file that holds it.
        pixels: As they are compared, ``[n, channels, height, width]`` uint8.
        size: Of the images that the model makes.
        notes: What was done to the files, and which were left out.
    """

    folder: Path
    files: tuple[Path, ...]
    pixels: Pixels
    size: Size
    notes: tuple[str, ...] = field(default=())


def read_images(
    folder: TrainingFolder,
    size: Size,
    each: Callable[[list[Pixels]], None] = lambda images: None,
    at_once: int = 32,
    *,
    progress: bool = True,
) -> TrainingImages:
    """Read the training images of a folder at the size of a model's images.

    Training scripts bring an image to the resolution of the model by its shorter side (bilinear) and crop it at the
    centre; so does this. EXIF turns are undone, and transparency is dropped, as ``convert("RGB")`` does.

    Args:
        folder: From :func:`~memdet.extraction.folder.open_folder`.
        size: Of the images that the model makes.
        each: Is shown the distinct images at the full size, ``[channels, height, width]``, some at a time and in their
            order.
        at_once: So many.
        progress: Show a bar, on a terminal alone and where it takes more than five seconds.

    Raises:
        UserError: A file that holds no image, of 16 bits a channel, or in colour where the model knows grey alone.
    """
    seen: dict[bytes, int] = {}
    files: list[Path] = []
    pixels: list[Pixels] = []
    waiting: list[Pixels] = []
    tally: Tally = defaultdict(list)
    shown = None if progress else True
    for file in tqdm(folder.files, desc="training images", unit="image", disable=shown, delay=5):
        image = _opened(folder.path / file, tally, file)
        fitted = _fitted(image, size, tally, file)
        key = hashlib.sha256(fitted.tobytes()).digest()
        if key in seen:
            tally["repeated"].append(file)
            continue
        seen[key] = len(files)
        files.append(file)
        pixels.append(compared(fitted, size))
        waiting.append(fitted)
        if len(waiting) == at_once:
            each(waiting)
            waiting = []
    if waiting:
        each(waiting)
    _check_colour(folder, size, tally["coloured"])
    return TrainingImages(folder.path, tuple(files), np.stack(pixels), size, (*folder.notes, *_notes(tally, size)))


def compared(image: Pixels, size: Size) -> Pixels:
    """An image as it is compared: averaged down where it is larger than :data:`LARGEST_SIDE`.

    Args:
        image: ``[channels, height, width]``, of the model's size.
        size: That size.
    """
    if size.compared == (size.width, size.height):
        return image
    from PIL import Image

    channels = [Image.fromarray(channel).resize(size.compared, Image.Resampling.BOX) for channel in image]
    return np.stack([np.asarray(channel) for channel in channels])


def generation_pixels(path: Path, size: Size) -> Pixels:
    """A generation as ``[channels, height, width]``.

    Raises:
        UserError: The file is damaged, or of another size than the model's images.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert(size.mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} cannot be read ({first_line(error)}): delete it, and it is made again") from None
    if pixels.shape[:2] != (size.height, size.width):
        raise UserError(
            f"{path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, and the model makes {size.width} x "
            f"{size.height}: delete it, and it is made again"
        )
    return _channels_first(pixels)


def _opened(path: Path, tally: Tally, file: Path) -> Image:
    """An image of a file, upright, in grey or colour."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as stored:
            if stored.mode[0] in "IF":
                raise UserError(f"{path} has more than 8 bits a channel: save it with 8, as training reads it")
            if "transparency" in stored.info or stored.mode in ("RGBA", "LA", "PA"):
                tally["transparent"].append(file)
            upright = ImageOps.exif_transpose(stored)
            return upright.convert("L" if stored.mode in ("1", "L", "LA") else "RGB")
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
        raise UserError(f"{path} holds no image that can be read: {first_line(error)}; replace or remove it") from None


def _fitted(image: Image, size: Size, tally: Tally, file: Path) -> Pixels:
    """An image at the size of the model's, and in its channels."""
    from PIL import Image as Pillow
    from PIL import ImageOps

    if image.mode == "RGB":
        if size.channels == 1 and _has_colour(np.asarray(image)):
            tally["coloured"].append(file)
    elif size.channels == 3:
        tally["grey"].append(file)
    wanted = (size.width, size.height)
    if image.size != wanted:
        tally["resized"].append(file)
        if image.size[0] * wanted[1] != image.size[1] * wanted[0]:
            tally["cropped"].append(file)
        image = ImageOps.fit(image, wanted, method=Pillow.Resampling.BILINEAR)
    return _channels_first(np.asarray(image.convert(size.mode)))


def _has_colour(pixels: Pixels) -> bool:
    return bool((pixels.max(axis=2).astype(int) - pixels.min(axis=2)).max() > _COLOURED)


def _channels_first(pixels: NDArray[Any]) -> Pixels:
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1))


def _check_colour(folder: TrainingFolder, size: Size, coloured: list[Path]) -> None:
    if coloured and size.channels == 1:
        raise UserError(
            f"the model makes grey images, and {len(coloured)} of {len(folder.files)} training images are in colour "
            f"({folder.path / coloured[0]} first): convert them as your training did, or name the folder of this model",
            parameters=("training_images",),
        )


def _notes(tally: Tally, size: Size) -> list[str]:
    """A sentence for each thing that was done to some files."""
    told = {
        "resized": f"resized to the model's {size.width} x {size.height}, as training does",
        "cropped": "of another shape, and cropped at the centre",
        "transparent": 'with transparency, which was dropped as convert("RGB") does',
        "grey": "grey, where the model makes colour: its channels are taken for equal",
        "repeated": "the same picture as another file, and counted once",
    }
    notes = []
    for name, text in told.items():
        if files := tally[name]:
            shown = ", ".join(file.as_posix() for file in files[:_SHOWN]) + (", ..." if len(files) > _SHOWN else "")
            notes.append(f"{counted(len(files), 'training image')} {text}: {shown}.")
    return notes
