"""Generations from the items of a run, kept beside its scores in ``images.parquet``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from memdet.errors import UserError
from memdet.io_utils import is_whole_png
from memdet.results.conditions import Source
from memdet.results.integrity import digest_of_table
from memdet.results.schema import IMAGES
from memdet.results.store import ARROW_ERRORS, write_table

FILE = "images.parquet"
_DIGEST = b"memdet.sha256"
UNDRAWN = b""
"""Kept in place of an image whose pixels are not finite numbers; it is tried again when images are made anew."""
Key = tuple[str, str, str, int, float, int]
"""Model, condition, ``shared`` or the item's id, steps, guidance, seed: all that an image depends on."""


def key_of(source: Source, item: str, seed: int) -> Key:
    """Under which the generation of an item is kept; items of several sets can share it.

    Args:
        source: Of the item; its protocol is known.
        item: Id.
        seed: Of the noise.
    """
    entry = source.entry
    assert entry is not None
    assert entry.steps is not None
    assert entry.guidance is not None
    noise = "shared" if entry.noise == "shared" else item
    return (source.model[item], source.condition[item], noise, entry.steps, entry.guidance, seed)


def read_images(directory: Path) -> dict[Key, bytes]:
    """PNG of each generation that is kept, :data:`UNDRAWN` where it could not be computed; empty without the file.

    Raises:
        UserError: Damaged.
    """
    file = directory / FILE
    if not file.is_file():
        return {}

    def refuse(what: str) -> UserError:
        return UserError(f"{file} is damaged: {what}; delete it, and the page makes its images again")

    try:
        metadata = pq.read_schema(file).metadata or {}
        table = pq.read_table(file, schema=IMAGES)
        table.validate(full=True)
    except ARROW_ERRORS as error:
        raise refuse((str(error).splitlines() or [type(error).__name__])[0]) from None
    if metadata.get(_DIGEST, digest := digest_of_table(table).encode()) != digest:
        raise refuse("its SHA-256 is not that of what memdet wrote there")
    *names, image = table.to_pydict().values()
    for model, condition, png in zip(names[0], names[1], image, strict=True):
        if png is None or (png != UNDRAWN and not is_whole_png(png)):
            raise refuse(f"the image that {model} made of {condition!r} is no whole PNG")
    return dict(zip(zip(*names, strict=True), image, strict=True))


def write_images(directory: Path, kept: Mapping[Key, bytes]) -> None:
    """Replace the file by these images; without any, nothing is written."""
    if kept:
        columns = zip(*((*key, image) for key, image in kept.items()), strict=True)
        table = pa.table(dict(zip(IMAGES.names, map(list, columns), strict=True)), schema=IMAGES)
        digest = {_DIGEST: digest_of_table(table)}
        write_table(table.replace_schema_metadata(digest), directory / FILE)
