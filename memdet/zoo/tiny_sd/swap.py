"""The sample set ``tiny-sd-swap``: each prompt under the model that memorized it, and under the one that did not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

MODELS = ("tiny-sd-a", "tiny-sd-b")
_PAIRED = ("verbatim", "single")


def swap_table(weights: Path) -> pd.DataFrame:
    """Pair the items of the two models.

    A prompt is left out where label and measured extraction disagree under either model.

    Args:
        weights: Directory that holds both models.

    Returns:
        A row a prompt and model: ``item_id, prompt, model, role, cluster`` (the prompt's), ``split, extraction_rate``.
    """
    tables = []
    for model in MODELS:
        items = pd.read_parquet(weights / model / "items.parquet")
        items = items[items["measured_role"].isin(_PAIRED)]
        tables.append(items.assign(model=model, cluster=items["item_id"], item_id=f"{model}-" + items["item_id"]))
    both = pd.concat(tables, ignore_index=True)
    both = both[both["cluster"].duplicated(keep=False)].sort_values(["cluster", "model"], ignore_index=True)
    return both[["item_id", "prompt", "model", "role", "cluster", "split", "extraction_rate"]]
