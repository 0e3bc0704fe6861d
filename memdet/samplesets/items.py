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
from memdet.samplesets.strict_yaml import first_line

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_MODES = {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB"}
"""Of each mode of Pillow that is read, the mode as which it is."""
_SIGNATURE, _BIT_DEPTH = b"\x89PNG\r\n\x1a\n", 24  # of a PNG file, and where it says the bits of a channel
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
        raise UserError(f"{where}: {name} is {shown(value)}; write the number 0 or 1")


def check_text(value: object, name: str, where: str) -> None:
    """Refuse what is not text, and text that is empty."""
    if not (isinstance(value, str) and value.strip()):
        raise UserError(f"{where}: {name} is {shown(value)}; write text in quotes that is not empty")


def shown(value: object) -> str:
    """A value as a file would hold it, shortened."""
    try:
        return json.dumps(value)[:40]
    except TypeError:  # not one of JSON's kinds
        return " ".join(repr(value).split())[:40]


def image_of_png(data: bytes, where: str) -> NDArray[np.float32]:
    """A PNG as float32 ``[channels, height, width]`` in [-1, 1].

    Args:
        data: One channel in grey or black and white, three in colour or with a palette; 8 bits at most a channel.
        where: It stands, for errors.

    Raises:
        UserError: It is none, or one whose pixels would lose something: transparent, or of 16 bits a channel.
    """
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            deep = image.mode not in _MODES and image.mode[0] in "IF"
            if deep or (data.startswith(_SIGNATURE) and data[_BIT_DEPTH] > 8):
                raise UserError(f"{where} holds a PNG image of 16 bits a channel; write it with 8 bits")
            if image.mode not in _MODES or "transparency" in image.info:
                how = 'write it without transparency, with Pillow image.convert("RGB") or image.convert("L")'
                raise UserError(f"{where} holds an image of mode {image.mode} that is no plain grey or colour; {how}")
            pixels = np.asarray(image.convert(_MODES[image.mode]), dtype=np.float32)
    except (TypeError, ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{where} holds no PNG image: {first_line(error)}; write it again") from None
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
