"""A folder of training images: which files it holds, and the captions that lie beside them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from memdet.errors import UserError
from memdet.given_files import read_given
from memdet.samplesets.evidence import same_text
from memdet.samplesets.items import rows_sha256
from memdet.samplesets.prompt_table import Wanted, read_prompt_table
from memdet.samplesets.prompts import Prompt, PromptFile
from memdet.samplesets.strict_yaml import decode

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
OTHER_IMAGES = (".avif", ".bmp", ".gif", ".heic", ".jfif", ".jxl", ".tif", ".tiff")
METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
CAPTIONS = (".txt", ".caption")
_FILE_NAME = "file_name"
_NOT_IMAGES = "__MACOSX"  # what an archive of macOS leaves


@dataclass(frozen=True)
class TrainingFolder:
    """The files of a folder of training images.

    Attributes:
        path: The folder.
        files: Images in it and in the folders below, relative to it, in the order of their names.
        notes: What a reader should know: of images that are not read.
    """

    path: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def open_folder(path: Path, out: Path | None = None) -> TrainingFolder:
    """Find the training images of a folder: png, jpg and webp, in the folders below too.

    Hidden files and folders are passed over; links to folders are not followed.

    Args:
        path: The folder.
        out: Where results will be written, which may not lie in the folder, nor the folder there: generations would be
            taken for training images.

    Raises:
        UserError: No folder, no images, or one of the two lies in the other.
    """
    if path.is_file():
        raise UserError(
            f"`training_images` {path} is a file: name the folder that holds the images",
            parameters=("training_images",),
        )
    if not path.is_dir():
        raise UserError(
            f"`training_images` {path} does not exist: name the folder that holds the images",
            parameters=("training_images",),
        )
    if out is not None:
        _check_apart(path, out)
    found = sorted(_walk(path))
    files = tuple(file for file in found if file.suffix.lower() in SUFFIXES)
    others = sorted({file.suffix.lower() for file in found if file.suffix.lower() in OTHER_IMAGES})
    if not files:
        instead = f"; it holds {', '.join(others)} files: convert them" if others else ""
        raise UserError(
            f"`training_images` {path} holds no image ({', '.join(SUFFIXES)}), nor do its folders{instead}",
            parameters=("training_images",),
        )
    n_others = sum(file.suffix.lower() in OTHER_IMAGES for file in found)
    notes = (f"Not read, being neither png, jpg nor webp: {n_others} of {', '.join(others)}.",) if others else ()
    return TrainingFolder(path, files, notes)


def captions_of(folder: TrainingFolder, column: str | None = None) -> dict[Path, str]:
    """Captions of training images, by file; those that have none are left out.

    They stand in ``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet`` of the image's folder or of one above it,
    as the ``imagefolder`` of ``datasets`` has them (``file_name`` and a column ``prompt``, ``caption`` or ``text``), or
    in ``NAME.txt`` or ``NAME.caption`` beside the image, whose first line counts, as in kohya's scripts. A row of
    metadata goes before a text file.

    Args:
        folder: From :func:`open_folder`.
        column: Of the captions in metadata; found by its usual names if not given.

    Raises:
        UserError: A file that cannot be read, or that names an image that is not there.
    """
    known = set(folder.files)
    captions: dict[Path, str] = {}
    for above in sorted({above for file in folder.files for above in file.parents}, key=lambda p: len(p.parts)):
        for name in METADATA:  # of folders below come later, and hold
            if (folder.path / above / name).is_file():
                captions |= _of_metadata(folder.path, above, name, known, column)
                break
    for file in folder.files:
        if file not in captions and (text := _beside(folder.path / file)):
            captions[file] = text
    return captions


def prompts_of(folder: TrainingFolder, captions: Mapping[Path, str]) -> PromptFile:
    """Captions as prompts: each text once, with the name of its first image as its id.

    Args:
        folder: From :func:`open_folder`.
        captions: From :func:`captions_of`.

    Raises:
        UserError: There are none.
    """
    if not captions:
        raise UserError(
            f"no prompts: {folder.path} holds no captions (metadata.csv, metadata.jsonl, or NAME.txt beside NAME.png); "
            "give `prompts`, a file with one a line",
            parameters=("prompts",),
        )
    images: dict[str, list[int]] = {}
    for number, file in enumerate(folder.files, start=1):
        if file in captions:
            images.setdefault(captions[file], []).append(number)
    prompts = [
        Prompt(text, folder.files[numbers[0] - 1].as_posix(), same_text(text), tuple(numbers))
        for text, numbers in images.items()
    ]
    return PromptFile(folder.path, prompts, rows_sha256((prompt.id, prompt.text) for prompt in prompts))


def _walk(path: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != _NOT_IMAGES)
        for name in names:
            if not name.startswith("."):
                yield (Path(place) / name).relative_to(path)


def _check_apart(path: Path, out: Path) -> None:
    """Refuse a folder in which generations would come to lie, or that lies among them."""
    images, results = path.resolve(), out.resolve()
    if images.is_relative_to(results) or results.is_relative_to(images):
        inner, outer = ("training_images", "out") if images.is_relative_to(results) else ("out", "training_images")
        raise UserError(
            f"`{inner}` lies in `{outer}` ({path}, {out}), and generations would be taken for training images: name "
            "another `out`",
            parameters=("training_images", "out"),
        )


def _of_metadata(root: Path, above: Path, name: str, known: set[Path], column: str | None) -> dict[Path, str]:
    """Captions that one file of metadata gives to the images of its folder."""
    path = root / above / name
    table = read_prompt_table(path, Wanted(column, others=(_FILE_NAME,))).table
    found: dict[Path, str] = {}
    for index, (file, text) in enumerate(zip(table.columns[_FILE_NAME], table.columns["prompt"], strict=True)):
        image = Path(os.path.normpath(above / str(file)))
        if image not in known:
            why = "is not there" if not (root / image).is_file() else "is no png, jpg or webp in this folder"
            raise UserError(f"{table.where(index)}: file_name {str(file)!r} {why}; correct it, or remove the row")
        found[image] = str(text).strip()
    return found


def _beside(image: Path) -> str | None:
    """The first line of the text file of an image, where there is one and it is not blank."""
    for suffix in CAPTIONS:
        path = image.with_suffix(suffix)
        if path.is_file():
            return next((line.strip() for line in decode(read_given(path), path).splitlines() if line.strip()), None)
    return None
