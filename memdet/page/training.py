"""What lies beside a model's weights about its conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from memdet.errors import UserError
from memdet.io_utils import damaged_weights, is_whole_png, weights_root
from memdet.results.store import ARROW_ERRORS


@dataclass(frozen=True)
class Training:
    """What lies beside a model's weights about one condition.

    Attributes:
        images: PNGs of its training images, as far as they are kept.
        copies: How often the training set holds each; None where unknown.
        variants: How many distinct images the condition has; None where unknown.
    """

    images: list[bytes] = field(default_factory=list)
    copies: int | None = None
    variants: int | None = None


def training_of(model: str) -> dict[str, Training]:
    """What lies beside a model's weights about its conditions, read from ``items.parquet`` and ``images.parquet``.

    Empty where a model has no such files.

    Raises:
        UserError: A file that ships with memdet was changed, or one cannot be read.
    """
    directory = weights_root() / model
    if not directory.is_dir():
        directory = Path(model).expanduser()
    if not (directory / "items.parquet").is_file():
        return {}
    if directory.parent == weights_root() and (changed := damaged_weights(model)) is not None:
        raise UserError(f"{changed} differs from its checksum: reinstall memdet")
    items = _table(directory / "items.parquet")
    key = next((name for name in ("condition", "prompt") if name in items), None)
    if key is None:
        return {}
    images: dict[str, list[bytes]] = {}
    file = directory / "images.parquet"
    pictures = _table(file) if file.is_file() else items
    if {key, "image"} <= set(pictures):
        for condition, image in zip(pictures[key], pictures["image"], strict=True):
            if not (isinstance(image, bytes) and is_whole_png(image)):
                where = file if file.is_file() else directory / "items.parquet"
                raise UserError(f"{where} is damaged: the image of {condition!r} is no whole PNG")
            images.setdefault(condition, []).append(image)
    numbers = {name: items[name].tolist() if name in items else [None] * len(items) for name in ("copies", "variants")}
    rows = zip(items[key], numbers["copies"], numbers["variants"], strict=True)
    return {condition: Training(images.get(condition, []), copies, variants) for condition, copies, variants in rows}


def _table(file: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(file)
    except ARROW_ERRORS as error:
        told = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{file} is damaged: {told}: put a whole copy there") from None
