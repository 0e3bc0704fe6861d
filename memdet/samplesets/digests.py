"""Checksums of the items that a sample set holds, as they are scored."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from memdet.samplesets.items import COLUMNS

if TYPE_CHECKING:
    import pandas as pd

_ROWS_AT_ONCE = 10_000


def items_digests(items: pd.DataFrame) -> dict[str, str]:
    """SHA-256 of the items of each split that there is, whatever file or frame they came from.

    Two names of one model give the same; which items share a model counts.

    Args:
        items: Of a sample set.

    Example:
        >>> from memdet.samplesets import load_sample_set
        >>> list(items_digests(load_sample_set("tiny-sd-a-verbatim").items))
        ['dev', 'test']
    """
    names = [name for name in COLUMNS if name in items and name != "model"]
    models = items["model"].astype("category").cat.codes if items["model"].nunique() > 1 else None
    found = {}
    for split in sorted(items["split"].unique()):
        chosen = items["split"] == split
        part, digest = items.loc[chosen, names], hashlib.sha256(json.dumps(names).encode())
        for start in range(0, len(part), _ROWS_AT_ONCE):
            rows = part.iloc[start : start + _ROWS_AT_ONCE]
            for name in names:
                digest.update(json.dumps(rows[name].tolist(), default=_plain, ensure_ascii=True).encode())
        if models is not None:
            digest.update(models[chosen].to_numpy().astype("int64").tobytes())
        found[str(split)] = digest.hexdigest()
    return found


def _plain(value: Any) -> list[Any]:
    """An image by its shape and bytes."""
    return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
