"""A user's own items in JSON Lines."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

from memdet.errors import UserError
from memdet.samplesets.file_formats import RawTable, parse_json_lines
from memdet.samplesets.items import check_items, check_label, check_text, default_id
from memdet.samplesets.strict_yaml import nearest, read_bytes

_KEYS = ("prompt", "memorized", "id", "cluster", "stratum")


def read_samples(path: Path, model: str) -> tuple[RawTable, str]:
    """Read items from JSON Lines ``{"prompt": "...", "memorized": 1}``.

    Args:
        path: The file; ``id``, ``cluster`` and ``stratum`` are optional keys.
        model: The model of all items.

    Returns:
        A table with memdet's own columns, and the SHA-256 of the file.

    Raises:
        UserError: Missing file, or a line with a mistake.
    """
    data = read_bytes(path)
    columns: dict[str, list[Any]] = {name: [] for name in ("item_id", "condition", "label", "cluster", "stratum")}
    n = 0
    for n, row in enumerate(parse_json_lines(path, data), start=1):
        _check(row, f"{path}, line {n}")
        item = row.get("id", default_id(n))
        values = (item, row["prompt"], row["memorized"], row.get("cluster", item), row.get("stratum", "all"))
        for column, value in zip(columns.values(), values, strict=True):
            column.append(value)
    columns |= {"split": ["test"] * n, "model": [model] * n, "extraction": [math.nan] * n, "image": [None] * n}
    table = RawTable(path, columns, range(1, n + 1))
    check_items(table, 'write "memorized": 1 for the memorized prompts and 0 for the others')
    return table, hashlib.sha256(data).hexdigest()


def _check(row: dict[str, Any], where: str) -> None:
    for key in row:
        if key not in _KEYS:
            known = f"known ones are {', '.join(_KEYS)}"
            raise UserError(f"{where}: unknown key {key!r}: {nearest(key, _KEYS, known)}")
    for key in ("prompt", "memorized"):
        if key not in row:
            raise UserError(f'{where}: key {key!r} is missing; write {{"prompt": "...", "memorized": 0 or 1}}')
    check_label(row["memorized"], "memorized", where)
    for key in ("prompt", "id", "cluster", "stratum"):
        if key in row:
            check_text(row[key], key, where)
