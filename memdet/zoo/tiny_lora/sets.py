"""Tables of the sample sets that span fine-tunes, their exchanged sisters and their checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from memdet.zoo.tiny_lora.extraction import AGREES, BASE, STAGES_FILE

CAPTIONED = ("tiny-lora-a", "tiny-lora-b")
SUBJECTS = ("tiny-dreambooth-a", "tiny-dreambooth-b")
NOT_YET = 0.1  # an image has not begun to be given back where fewer of the generations copy anything
_DISAGREEMENT, _OTHER = "disagreement", "other"
_PLANTED = ("repeated", "few")


def lora_table(weights: Path) -> pd.DataFrame:
    """Items of the captioned fine-tunes, of all their stages.

    Args:
        weights: Directory that holds the models.

    Returns:
        A row a prompt, model and stage: ``item_id, prompt, model, role, cluster`` (the prompt), ``split, stage,
        extraction_rate``; the question of each stage, ``at_early, at_right, at_overcooked``: the role at that stage and
        ``other`` elsewhere; at the last ``disagreement`` where label and measurement disagree; and ``begun``: whether a
        caption that is repeated is ``given back`` at a stage, ``not yet``, or ``between``.
    """
    table = _joined(weights, CAPTIONED)
    for stage in ("early", "right", "overcooked"):
        role = _measured_role(table) if stage == "overcooked" else table["role"].to_numpy()
        table[f"at_{stage}"] = np.where(table["stage"] == stage, role, _OTHER)
    rate = table["extraction_rate"]
    begun = np.where(rate >= AGREES, "given back", np.where(rate < NOT_YET, "not yet", "between"))
    table["begun"] = np.where(table["role"] == "repeated", begun, _OTHER)
    names = ["item_id", "prompt", "model", "role", "cluster", "split", "stage", "extraction_rate"]
    return table[[*names, "at_early", "at_right", "at_overcooked", "begun"]]


def dreambooth_table(weights: Path) -> pd.DataFrame:
    """Items of the fine-tunes to a rare word, without their base.

    Args:
        weights: Directory that holds the models.

    Returns:
        A row a prompt and model: ``item_id, prompt, model, role, cluster`` (the garment), ``split, extraction_rate,
        measured_role``: the role, or ``disagreement`` where the measurement disagrees with it.
    """
    table = _joined(weights, SUBJECTS)
    table = table[table["stage"] != BASE].reset_index(drop=True)
    table["measured_role"] = _measured_role(table)
    return table[["item_id", "prompt", "model", "role", "cluster", "split", "extraction_rate", "measured_role"]]


def _joined(weights: Path, models: tuple[str, ...]) -> pd.DataFrame:
    tables = []
    for model in models:
        items = pd.read_parquet(weights / model / STAGES_FILE)
        tables.append(items.assign(item_id=f"{model.rpartition('-')[2]}-" + items["item_id"]))
    return pd.concat(tables, ignore_index=True)


def _measured_role(table: pd.DataFrame) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """The role, or a disagreement: what is planted and not copied, and what is not planted and copies anything."""
    planted = table["role"].isin(_PLANTED).to_numpy()
    rate = np.where(planted, table["own_rate"], table["extraction_rate"])
    return np.where(planted == (rate >= AGREES), table["role"].to_numpy(), _DISAGREEMENT)
