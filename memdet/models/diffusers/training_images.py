"""All images that a model was trained on, which lie beside its weights, or with memdet for its own models.

``training.json`` says that they are all, and in which files they are. Images without it may be some of many, and the
nearest of some says nothing of the nearest of all.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from memdet.errors import NotApplicableError, UserError
from memdet.given_files import (
    LARGEST_IMAGES,
    open_parquet,
    read_columns,
    read_json,
    read_json_value,
    require_bytes,
    require_given,
)
from memdet.io_utils import sha256_of, weights_root, write_text
from memdet.models.diffusers import compositions

DESCRIPTION_FILE = "training.json"
_KEYS = frozenset({"complete", "files", "count", "sha256"})
_PACKED, _PLAN = ".npy.xz", ".plan.npy.xz"
_TABLES = ("images.parquet", "items.parquet")


def shipped_training_images() -> Path:
    """Folder of the training images of memdet's own models, of which several share some."""
    return weights_root() / "training-images"


def read_training_images(directory: Path) -> torch.Tensor:
    """All distinct training images of a model, ``[n, channels, height, width]`` float32 in [0, 1].

    ``training.json`` beside the weights says that they are all there, ``{"complete": true, "files": [...]}``, with
    ``count`` and ``sha256`` (of the pixels, a byte each) of the distinct images in their order, if they are to be
    checked. A file is ``.parquet`` (PNGs in the column ``image``; rows whose ``copies`` are 0 were never trained on and
    are left out), ``.npy`` or ``.npy.xz`` (uint8, ``[n, height, width]``, or ``[n, height, width, 3]`` in colour), or
    ``.plan.npy.xz`` (int16: pictures of memdet's own motifs, to be drawn). It lies beside the weights, or among the
    training images that ship with memdet.

    Args:
        directory: Of the model.

    Raises:
        NotApplicableError: It is not said that all are there, or a file is missing.
        UserError: ``training.json`` or a file cannot be read, or they do not agree.
    """
    files = _files(directory)
    if files is None:
        _refuse(directory)
    pixels = _pixels(tuple((path, path.stat().st_mtime_ns) for path in files))
    _check(directory / DESCRIPTION_FILE, pixels)
    images = torch.from_numpy(pixels).to(torch.float32) / 255
    return images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()


def training_images_digest(directory: Path) -> str:
    """SHA-256 of the files that hold a model's training images and of what is said of them; empty without any.

    It is part of what a model is: oracles compare with these images.
    """
    try:
        files = _files(directory)
    except (NotApplicableError, UserError) as error:  # what oracles will say of it
        return hashlib.sha256(str(error).encode()).hexdigest()
    if files is None:
        return ""
    parts = [sha256_of(path) for path in (directory / DESCRIPTION_FILE, *files)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def write_training_images(directory: Path, files: Mapping[str, NDArray[np.uint8] | NDArray[np.int16]]) -> None:
    """Write all training images of a model and ``training.json``.

    Args:
        directory: Of the model.
        files: Distinct images by the name of their file without its suffix, ``[n, height, width]`` or
            ``[n, height, width, 3]`` of uint8; or a plan of pictures, int16, as
            :func:`memdet.models.diffusers.compositions.empty_plan` describes it.
    """
    written = {f"{name}{_PLAN if array.dtype == np.int16 else _PACKED}": array for name, array in files.items()}
    for name, array in written.items():
        compositions.write_array(directory / name, array)
    pixels = _distinct(_read(directory / name) for name in written)
    content = {
        "complete": True,
        "files": list(written),
        "count": len(pixels),
        "sha256": hashlib.sha256(pixels.tobytes()).hexdigest(),
    }
    write_text(directory / DESCRIPTION_FILE, json.dumps(content, indent=1) + "\n")


def _refuse(directory: Path) -> NoReturn:
    """Say that the training images are not known, and how they would be."""
    file = directory / DESCRIPTION_FILE
    for name in _TABLES:
        if (directory / name).is_file():
            raise NotApplicableError(
                f"nothing says that {directory / name} holds all training images; if it does, write "
                f'{{"complete": true, "files": ["{name}"]}} to {file}'
            )
    raise NotApplicableError(f"no training images lie beside the weights in {directory}")


def _description(directory: Path) -> dict[str, Any] | None:
    """Content of ``training.json``; None without the file."""
    path = directory / DESCRIPTION_FILE
    if not path.exists():
        return None
    content = read_json_value(path)
    names = content.get("files") if isinstance(content, dict) else None
    plain = isinstance(names, list) and names and all(isinstance(n, str) and n == Path(n).name for n in names)
    if not plain or not isinstance(content.get("complete"), bool) or content.keys() - _KEYS:
        raise UserError(
            f'{path}: write {{"complete": true, "files": ["images.parquet"]}}, names of files without folders; '
            '"count" and "sha256" may stand beside'
        )
    return dict(content)


def _files(directory: Path) -> list[Path] | None:
    """The files that hold all training images; None where nothing is said of them."""
    content = _description(directory)
    if content is None:
        return None
    path = directory / DESCRIPTION_FILE
    if not content["complete"]:
        raise NotApplicableError(f"{path} says that the training images beside the weights are not all")
    found = []
    for name in content["files"]:
        places = [directory / name, shipped_training_images() / name]
        file = next((place for place in places if place.is_file()), None)
        if file is None:
            raise NotApplicableError(f"{places[0]} is missing, which {path} names: put it there")
        found.append(file)
    return found


@lru_cache(maxsize=2)
def _pixels(files: tuple[tuple[Path, int], ...]) -> NDArray[np.uint8]:
    """Distinct images of some files, each with the time of its last change."""
    return _distinct(_read(path) for path, _ in files)


def _read(path: Path) -> NDArray[np.uint8]:
    """Images of one file."""
    require_given(path)
    try:
        if path.name.endswith(".parquet"):
            images = _of_table(path)
        elif path.name.endswith(_PLAN):
            images = compositions.read_plan(path, shipped_training_images() / compositions.ATLAS_FILE)
        elif path.name.endswith(_PACKED):
            images = compositions.read_array(path)
        else:
            images = np.load(path, allow_pickle=False)
    except UserError:
        raise
    except Exception as error:  # a damaged file makes its reader raise what it likes
        raise UserError(f"{path} holds no training images that can be read: {error}") from error
    if images.dtype != np.uint8 or not (images.ndim == 3 or (images.ndim == 4 and images.shape[3] == 3)):
        raise UserError(
            f"{path}: images are {images.dtype} {list(images.shape)}; write uint8 [n, height, width] or "
            "[n, height, width, 3], all of one size"
        )
    return np.asarray(images)


def _of_table(path: Path) -> NDArray[Any]:
    from PIL import Image

    with open_parquet(path) as file:
        table = read_columns(path, file, [name for name in ("image", "copies") if name in file.schema_arrow.names])
    trained = np.asarray(table.get("copies", np.ones(len(table["image"])))) > 0
    pixels, total = [], 0
    for data in (data for data, used in zip(table["image"], trained, strict=True) if used):
        with Image.open(io.BytesIO(data)) as image:
            total += 3 * image.width * image.height
            require_bytes(path, total, LARGEST_IMAGES)
            pixels.append(np.asarray(image))
    return np.stack(pixels)


def _distinct(parts: Iterable[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """All images, each once, in the order in which they are first seen."""
    images = np.concatenate(list(parts))
    rows = np.ascontiguousarray(images.reshape(len(images), -1))
    whole = rows.view(np.dtype((np.void, rows.shape[1]))).ravel()
    _, first = np.unique(whole, return_index=True)
    return images if len(first) == len(images) else images[np.sort(first)]


def _check(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Hold the images to what ``training.json`` says of them."""
    content = read_json(path)
    if "count" in content and content["count"] != len(pixels):
        raise UserError(f"{path} says {content['count']} distinct training images, its files hold {len(pixels)}")
    if "sha256" in content and content["sha256"] != hashlib.sha256(pixels.tobytes()).hexdigest():
        raise UserError(f"{path}: the SHA-256 of the training images differs; restore its files")
