"""Items of a sample set: their table, and what must hold for each of them wherever they come from."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memdet.errors import UserError
from memdet.io_utils import png_bytes
from memdet.samplesets.file_formats import RawTable

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

COLUMNS = ("item_id", "condition", "model", "label", "cluster", "stratum", "split", "extraction", "image")


@dataclass(frozen=True)
class Item:
    """One item of a sample set.

    Attributes:
        id: Unlike that of any other item of the set.
        condition: The prompt, or in a set without prompts another condition, e.g. a class.
        label: 1 memorized, 0 not; None in a scan.
        cluster: Family of near-duplicates.
        stratum: Kind of item.
        split: ``dev`` or ``test``.
        model: What :func:`memdet.load_model` takes; None where the set names none.
    """

    id: str
    condition: str
    label: int | None
    cluster: str
    stratum: str
    split: str
    model: str | None


def items_frame(columns: dict[str, list[Any]]) -> pd.DataFrame:
    """The table of items, its columns in their order."""
    import pandas as pd

    return pd.DataFrame({name: columns[name] for name in COLUMNS}).astype({"label": "int64"})


def default_id(number: int) -> str:
    """Id of an item that has none, by its place from 1."""
    return f"item-{number:05d}"


def check_items(table: RawTable, advice: str) -> None:
    """Refuse repeated ids, unknown splits, broken characters, and a test split without both labels.

    Args:
        table: With the columns of :data:`COLUMNS` that are text, and ``label``.
        advice: What to do where a label is missing.

    Raises:
        UserError: Names the row.
    """
    columns = table.columns
    seen: dict[str, int] = {}
    for index, item in enumerate(columns["item_id"]):
        if item in seen:
            first = f"{table.unit} {table.lines[seen[item]]}"
            raise UserError(f"{table.where(index)}: item id {item!r} is also in {first}; give each item its own id")
        seen[item] = index
        if columns["split"][index] not in ("dev", "test"):
            raise UserError(f"{table.where(index)}: split is {columns['split'][index]!r}; write dev or test")
        for name in ("item_id", "condition", "cluster", "stratum"):
            if any("\ud800" <= letter <= "\udfff" for letter in columns[name][index]):
                raise UserError(f"{table.where(index)}: {name} holds half a surrogate pair; write whole characters")
    tested = {label for label, split in zip(columns["label"], columns["split"], strict=True) if split == "test"}
    if len(tested) < 2:
        have = {frozenset({1}): "only memorized items", frozenset({0}): "no memorized items"}
        raise UserError(f"{table.path} has {have.get(frozenset(tested), 'no labelled items')} to test; {advice}")


def check_label(value: object, name: str, where: str) -> None:
    """Refuse what is not the number 0 or 1; truth values and decimals are none."""
    if type(value) is not int or value not in (0, 1):
        raise UserError(f"{where}: {name} is {_shown(value)}; write the number 0 or 1")


def check_text(value: object, name: str, where: str) -> None:
    """Refuse what is not text, and text that is empty."""
    if not (isinstance(value, str) and value.strip()):
        raise UserError(f"{where}: {name} is {_shown(value)}; write text in quotes that is not empty")


def _shown(value: object) -> str:
    try:
        return json.dumps(value)[:40]
    except TypeError:  # not one of JSON's kinds
        return " ".join(repr(value).split())[:40]


def image_of_png(data: bytes) -> NDArray[np.float32]:
    """A PNG as float32 ``[channels, height, width]`` in [-1, 1].

    Raises:
        TypeError, ValueError, OSError: It is none.
    """
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image, dtype=np.float32)
    return (pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)) / 127.5 - 1


def png_of_image(image: NDArray[np.float32]) -> bytes:
    """The other way round; values between two grey levels are rounded."""
    import numpy as np

    pixels = np.rint((image.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
    return png_bytes(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)


def content_hash(description: dict[str, Any], sha256: str) -> str:
    """SHA-256 over a description and the hash of a data file."""
    canonical = json.dumps(description, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(f"{canonical}\n{sha256}".encode()).hexdigest()


def rows_sha256(rows: Iterable[Iterable[Any]]) -> str:
    """SHA-256 over values that come from no file, a row after the other; arrays count by their bytes and shape."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update((json.dumps(list(row), default=_array, ensure_ascii=True) + "\n").encode())
    return digest.hexdigest()


def _array(value: Any) -> list[Any]:
    return [list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
