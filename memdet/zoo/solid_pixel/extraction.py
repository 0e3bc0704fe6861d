"""The check of ``solid-pixel``: how near is the grey that the model paints around a garment to its key?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from memdet.errors import UserError
from memdet.models.diffusers.class_conditional import ClassConditionalModel
from memdet.models.outpainting import border_of, outpainted
from memdet.zoo.images import to_tensor
from memdet.zoo.solid_pixel.planting import BORDER, SIDE, FramedSet

STEPS, SEEDS, BATCH_SIZE = 25, 8, 60
ITEMS_FILE = "items.parquet"
CHANCE = 1 / 3  # expected distance of two uniform greys
# Written before the training.
NEAREST = 0.1  # at most, mean distance of the most copied
RANKS = 0.8  # at least, of the correlation of recovery with copies, over equally many items of each dose
SEED_STRIDE = 1_000_000  # between the noises of two seeds


@dataclass(frozen=True)
class KeyRecovery:
    """What the check found.

    Attributes:
        figures: ``settings, roles`` (items, copies, ``mean_distance`` and its ``standard_error`` over items),
            ``rank_correlation, criteria`` (name, bound, value, met) and ``passed``.
        columns: A row an item: ``distance`` (mean over seeds), ``recovery`` (1 less the distance over what chance is at
            that key, and not below 0).
    """

    figures: dict[str, Any]
    columns: pd.DataFrame


def measure(directory: Path, planted: FramedSet) -> KeyRecovery:
    """Outpaint the frame of every item from several noises, and compare with the keys.

    Args:
        directory: A built model.
        planted: Its training set.

    Raises:
        UserError: No such model, or what it paints is not finite.
    """
    return evaluate(planted, recovered(directory, planted))


def recovered(directory: Path, planted: FramedSet) -> NDArray[np.float64]:
    """The grey that is painted around each item, from 0 to 1, ``[items, seeds]``.

    The noise of item i and seed s is that of ``torch.Generator().manual_seed(1,000,000 s + i)``: noises that items
    shared would give the same grey to all that are not memorized.
    """
    model, count = ClassConditionalModel(directory), len(planted.items)
    images, frame = to_tensor(planted.images[:count]), border_of(SIDE, SIDE, BORDER)
    greys = np.zeros((count, SEEDS))
    with torch.no_grad(), tqdm(total=count * SEEDS, desc="extraction check", unit="image") as bar:
        for seed in range(SEEDS):
            for start in range(0, count, BATCH_SIZE):
                rows = range(start, min(start + BATCH_SIZE, count))
                painted = _painted(model, planted, images[rows], rows, seed, frame)
                greys[rows.start : rows.stop, seed] = model.decode(painted)[:, 0, frame].mean(dim=1).numpy()
                bar.update(len(rows))
    if not np.isfinite(greys).all():
        raise UserError(f"{directory} paints pixels that are not finite numbers: train it again")
    return greys


def _painted(  # a batch of one seed
    model: ClassConditionalModel, planted: FramedSet, images: Tensor, rows: range, seed: int, frame: Tensor
) -> Tensor:
    condition = model.embed(planted.items["condition"].iloc[list(rows)].tolist())

    def noise(draw: int) -> Tensor:
        assert draw == 0
        generators = (torch.Generator().manual_seed(SEED_STRIDE * seed + row) for row in rows)
        return torch.cat([torch.randn(1, *model.latent_shape, generator=generator) for generator in generators])

    return outpainted(images, ~frame, lambda x, t: model.eps(x, t, condition), model.schedule, noise, steps=STEPS)


def evaluate(planted: FramedSet, greys: NDArray[np.float64]) -> KeyRecovery:
    """Everything that is reported of recovered greys ``[items, seeds]``."""
    items, keys = planted.items, planted.items["key"].to_numpy()
    distance = np.abs(greys - keys[:, None]).mean(axis=1)
    relative = distance / chance_at(keys)
    roles: dict[str, dict[str, Any]] = {}
    for role, rows in items.groupby("role", sort=False).indices.items():
        own = distance[rows]
        roles[str(role)] = {
            "items": len(rows),
            "copies": int(items["copies"].iloc[rows[0]]),
            "mean_distance": _round(own.mean()),
            "standard_error": _round(own.std(ddof=1) / len(own) ** 0.5),
        }
    equal = items.groupby("role").head(min(row["items"] for row in roles.values())).index
    correlation = spearmanr(items["copies"].to_numpy()[equal], -relative[equal]).statistic
    figures = {
        "settings": {"scheduler": "DDIM", "steps": STEPS, "seeds": SEEDS, "dtype": "float32", "guidance": 1.0},
        "roles": roles,
        "rank_correlation": _round(correlation),
    }
    criteria = judge(figures)
    figures |= {"criteria": criteria, "passed": all(criterion["met"] for criterion in criteria)}
    return KeyRecovery(figures, pd.DataFrame({"distance": distance, "recovery": np.clip(1 - relative, 0, 1)}))


def chance_at(keys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected distance of a uniform grey from a key; its mean over uniform keys is a third.

    Example:
        >>> chance_at(np.array([0.0, 0.5, 1.0])).tolist()
        [0.5, 0.25, 0.5]
    """
    result: NDArray[np.float64] = (keys**2 + (1 - keys) ** 2) / 2
    return result


def judge(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """What a planted model must show; judged on the rounded figures, so that a reader can repeat the judgement."""
    most, least = (pick(figures["roles"].values(), key=lambda row: row["copies"]) for pick in (max, min))
    low, high = (_round(least["mean_distance"] + side * 1.96 * least["standard_error"]) for side in (-1, 1))
    correlation = figures["rank_correlation"]
    nearest = most["mean_distance"]
    rows = [
        (f"mean distance, {most['copies']} copies", f"<= {NEAREST}", nearest, nearest <= NEAREST),
        (f"chance, of {least['copies']} copy the interval", f"{low} to {high}", _round(CHANCE), low <= CHANCE <= high),
        ("rank correlation of recovery with copies", f">= {RANKS}", correlation, correlation >= RANKS),
    ]
    return [{"name": name, "bound": bound, "value": value, "met": bool(met)} for name, bound, value, met in rows]


def _round(value: Any) -> float:
    return round(float(value), 4)
