"""Sample sets and data frames: a user's frame checked like a file, and a set's items for other libraries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from memdet.errors import UserError
from memdet.samplesets.file_formats import RawTable
from memdet.samplesets.items import check_items, check_label, check_text, default_id, image_of_png, png_of_image
from memdet.samplesets.strict_yaml import nearest

if TYPE_CHECKING:
    import datasets
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

_SPELLINGS = {
    "item_id": ("item_id", "id"),
    "condition": ("prompt", "condition"),
    "label": ("label", "memorized"),
    **{name: (name,) for name in ("cluster", "stratum", "split", "model", "extraction", "image")},
}
"""Columns that a frame may have for each of memdet's own."""
_SOURCE = "the data frame"


def read_frame(frame: pd.DataFrame, model: str | None) -> tuple[RawTable, bool]:
    """Check a data frame as strictly as a file of items.

    Args:
        frame: A row an item; ``prompt`` (or ``condition``) and ``label`` (or ``memorized``) must be there, ``item_id``
            (or ``id``), ``cluster``, ``stratum``, ``split``, ``model``, ``extraction`` and ``image`` may.
        model: Of the items of a frame without that column; else one of those in it.

    Returns:
        A table with memdet's own columns, and whether the conditions are prompts.

    Raises:
        UserError: Unknown, missing or repeated column, or a value with a mistake; names the row, from 1.
    """
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise UserError(f"expected a pandas DataFrame, found {type(frame).__name__}")
    found = _spelled(frame)
    n = len(frame)
    if n == 0:
        raise UserError(f"{_SOURCE} holds no items; give one a row")
    given = {name: [_plain(value) for value in frame[column].tolist()] for name, column in found.items()}
    given["label"] = _labels(given["label"], found["label"])
    for index in range(n):
        where = f"{_SOURCE}, row {index + 1}"
        for name, column in found.items():
            if name not in ("label", "extraction", "image"):
                check_text(given[name][index], column, where)
    if model is not None and model not in given.get("model", [model]):
        raise UserError(
            f"`model` is {model!r}, and {_SOURCE} has a column 'model' without it, {given['model'][0]!r} first;"
            " leave one of them out"
        )
    ids = given.get("item_id") or [default_id(number) for number in range(1, n + 1)]
    defaults = {"item_id": ids, "cluster": ids, "stratum": ["all"] * n, "split": ["test"] * n}
    columns = {**defaults, "model": [model or ""] * n, "extraction": [math.nan] * n, "image": [None] * n, **given}
    table = RawTable(_SOURCE, columns, range(1, n + 1), "row")
    columns["extraction"] = [_share(value, table.where(index)) for index, value in enumerate(columns["extraction"])]
    if any(image is not None for image in columns["image"]):
        columns["image"] = [_image(image, table.where(index)) for index, image in enumerate(columns["image"])]
    check_items(table, f"write 1 in column {found['label']!r} for the memorized items and 0 for the others")
    return table, found["condition"] == "prompt"


def to_pandas(items: pd.DataFrame, has_prompts: bool) -> pd.DataFrame:
    """The items as a frame that :func:`read_frame` takes; columns of which nothing is known are left out."""
    unknown = [name for name in ("extraction", "image") if name in items and items[name].isna().all()]
    if (items["model"] == "").all():
        unknown.append("model")
    names = {"condition": "prompt"} if has_prompts else {}
    return items.drop(columns=unknown).rename(columns=names).reset_index(drop=True)


def to_datasets(frame: pd.DataFrame) -> datasets.DatasetDict:
    """The frame of :func:`to_pandas` as datasets of Hugging Face, one a split; images are PNGs there."""
    import datasets

    if "image" in frame:
        frame = frame.assign(image=frame["image"].map(lambda image: {"bytes": png_of_image(image), "path": None}))
    parts = {}
    for split in ("dev", "test"):
        part = frame[frame["split"] == split]
        if len(part):
            parts[split] = datasets.Dataset.from_pandas(part, preserve_index=False)
            if "image" in part:
                parts[split] = parts[split].cast_column("image", datasets.Image())
    return datasets.DatasetDict(parts)


def _spelled(frame: pd.DataFrame) -> dict[str, str]:
    """The frame's column for each of memdet's own that it has."""
    known = [spelling for spellings in _SPELLINGS.values() for spelling in spellings]
    names = list(frame.columns)
    for name in names:
        if name not in known:
            hint = nearest(str(name), known, f"known ones are {', '.join(known)}")
            raise UserError(f"{_SOURCE} has the unknown column {name!r}: {hint}")
        if names.count(name) > 1:
            raise UserError(f"{_SOURCE} has column {name!r} twice; remove one")
    found = {}
    for own, spellings in _SPELLINGS.items():
        there = [spelling for spelling in spellings if spelling in names]
        if len(there) > 1:
            one = f"{there[0]!r} and {there[1]!r}"
            raise UserError(f"{_SOURCE} has the columns {one}, which mean one thing; remove one")
        if there:
            found[own] = there[0]
        elif own in ("condition", "label"):
            raise UserError(f"{_SOURCE} has no column {' or '.join(map(repr, spellings))}; add one of them")
    return found


def _labels(values: list[Any], column: str) -> list[int]:
    """Labels as whole numbers; a gap turns all numbers of a column into decimals, so gaps are looked for first."""
    import pandas as pd

    for index, value in enumerate(values):
        if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
            check_label(value, column, f"{_SOURCE}, row {index + 1}")
    whole = [int(value) if isinstance(value, float) and value.is_integer() else value for value in values]
    for index, value in enumerate(whole):
        check_label(value, column, f"{_SOURCE}, row {index + 1}")
    return whole


def _plain(value: Any) -> Any:
    """Of NumPy's scalars the Python value."""
    import numpy as np

    return value.item() if isinstance(value, np.generic) else value


def _share(value: Any, where: str) -> float:
    """A number from 0 to 1, or NaN where it is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return math.nan
    if isinstance(value, bool) or not (isinstance(value, int | float) and 0 <= value <= 1):
        raise UserError(f"{where}: extraction is {value!r}; write a share from 0 to 1")
    return float(value)


def _image(value: Any, where: str) -> NDArray[np.float32]:
    """An array as it is, a PNG (or what datasets keeps of one) read."""
    import numpy as np

    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, bytes):
        return image_of_png(value, f"{where}: image")
    if not (isinstance(value, np.ndarray) and value.ndim == 3 and value.dtype.kind == "f"):
        raise UserError(f"{where}: image is neither decimals [channels, height, width] nor a PNG; give one of them")
    if not (np.abs(value) <= 1).all():
        raise UserError(f"{where}: image holds values that are not in [-1, 1]; scale it")
    return value.astype(np.float32)
