"""Planted extraction: when a generation counts as a copy, by the rule of the model's card."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from memdet.errors import UserError
from memdet.io_utils import pixels_of_png, weights_root
from memdet.models import ScoreModel
from memdet.samplesets import SampleSet

ITEMS_FILE, FIGURES_FILE = "items.parquet", "extraction.json"
_AT_ONCE = 64
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Rule:
    """When a generation is a copy: its root mean square distance to an image, in latents, is below a threshold.

    Attributes:
        threshold: Calibrated on captions that were never trained: 1 % of their generations lie so near to any image.
        steps, guidance: Of the generations that it was calibrated on.
    """

    threshold: float
    steps: int
    guidance: float


class References:
    """Training images of all items of a planted model, as latents.

    Args:
        model: That was planted.
        items: ``items.parquet`` of the model.
    """

    def __init__(self, model: ScoreModel, items: pd.DataFrame) -> None:
        pictures, owners = list(items["image"]), list(items["item_id"])
        for item, several in zip(items["item_id"], items.get("images", ()), strict=False):
            if several is not None:
                pictures += list(several[1:])
                owners += [item] * (len(several) - 1)
        shown = torch.from_numpy(np.stack([pixels_of_png(data) for data in pictures])).float() / 255
        images = shown[:, None] if shown.ndim == 3 else shown.permute(0, 3, 1, 2)
        encoded = [model.encode(part.to(model.device)) for part in torch.split(images, _AT_ONCE)]
        self._latents = torch.cat(encoded).flatten(1).double().cpu()
        self._owners = np.array(owners)

    def distances(self, latents: Tensor, items: Sequence[str]) -> tuple[Floats, Floats]:
        """Root mean square distances of generations to the nearest own image, and to the nearest image of any item.

        Args:
            latents: Clean ones, ``[n, *latent_shape]``.
            items: Whose caption each is of.
        """
        flat = latents.detach().flatten(1).double().cpu()
        mode = "donot_use_mm_for_euclid_dist"
        distances = (torch.cdist(flat, self._latents, compute_mode=mode) / flat.shape[1] ** 0.5).numpy()
        own = np.where(np.array(items)[:, None] == self._owners, distances, np.inf).min(axis=1)
        return own, distances.min(axis=1)


def read_rule(model: str) -> Rule:
    """The rule of a planted model.

    Args:
        model: Its name, or its directory.

    Raises:
        UserError: No planted model of captions, or its figures cannot be read.
    """
    file = _directory(model) / FIGURES_FILE
    try:
        figures = json.loads(file.read_text(encoding="utf-8"))
        settings = figures["settings"]
        return Rule(float(figures["threshold"]), int(settings["steps"]), float(settings["guidance"]))
    except (OSError, ValueError):
        pass
    except (KeyError, TypeError):
        raise UserError(
            f"{model}: its card knows no threshold of copies for captions ({file}); mitigations are judged on models "
            "whose captions were planted, such as tiny-sd-a"
        ) from None
    raise UserError(
        f"{model}: nothing says which images it was trained to give back; mitigations are judged by planted "
        f"extraction, which needs {ITEMS_FILE} and {FIGURES_FILE} beside the weights, as tiny-sd-a has them"
    )


def read_references(model: ScoreModel, name: str) -> References:
    """Training images of the items of a planted model.

    Args:
        model: That encodes them.
        name: Its name, or its directory.

    Raises:
        UserError: The file is missing or damaged.
    """
    return References(model, _read_items(name, ["item_id", "image"]))


def planted_of(sample_set: SampleSet) -> dict[str, bytes]:
    """The training image of each tested item as PNG; of an item with several the first.

    Args:
        sample_set: Captions of planted models.

    Raises:
        UserError: A file of training images is missing or damaged.
    """
    tested = sample_set.items[sample_set.items["split"] == "test"]
    found: dict[str, bytes] = {}
    for model, part in tested.groupby("model"):
        table = _read_items(str(model), ["item_id", "image"])
        own = table[table["item_id"].isin(part["item_id"])]
        found |= dict(zip(own["item_id"], own["image"], strict=True))
    return found


def require_items(name: str, items: Sequence[str]) -> None:
    """Refuse items of which no training image is known.

    Args:
        name: Of the model, or its directory.
        items: That are asked about.

    Raises:
        UserError: The file is missing or damaged, or lacks an item.
    """
    known = set(_read_items(name, ["item_id", "image"])["item_id"])
    if missing := [item for item in items if item not in known]:
        raise UserError(
            f"{_directory(name) / ITEMS_FILE} has no item {missing[0]}: its training image is not known, so no copy of "
            "it could be found"
        )


def _read_items(name: str, columns: Sequence[str]) -> pd.DataFrame:
    file = _directory(name) / ITEMS_FILE
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise UserError(f"{file} cannot be read ({str(error).splitlines()[0]}): build the model again") from None
    if missing := [column for column in columns if column not in table]:
        raise UserError(f"{file} has no column {missing[0]}: mitigations are judged on planted captions, with images")
    return table


def _directory(model: str) -> Path:
    path = Path(model).expanduser()
    return path if path.is_dir() else weights_root() / model
