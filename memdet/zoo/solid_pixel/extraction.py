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

STEPS, PASSES, SEEDS, BATCH_SIZE = 25, 4, 8, 60
ITEMS_FILE = "items.parquet"
# Written before the training of the model that ships; the document of criteria says what a trial moved.
NEAREST = 0.1  # at most, mean distance of the most copied
RANKS = 0.8  # at least, of the correlation of recovery with copies, over equally many items of each dose
SEED_STRIDE, DRAW_STRIDE = 1_000_000, 1_000_000_000  # between the noises of two seeds, and of two passes


@dataclass(frozen=True)
class KeyRecovery:
    """What the check found.

    Attributes:
        figures: ``settings, roles`` (items, copies, ``mean_distance`` and the ``standard_error`` of what it is beyond
            chance, ``chance``, the exact expectation for keys that nothing tells), ``rank_correlation, criteria``
            (name, bound, value, met) and ``passed``.
        columns: A row an item: ``distance`` (mean over seeds), ``recovery`` (1 less the distance over that of the greys
            around other images of one copy to this key, and not below 0).
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

    The noise of item i and seed s is that of ``torch.Generator().manual_seed(1,000,000 s + i)``, that of further
    passes is of its own: noises that items shared would give the same grey to all that are not memorized.
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
        starts = (SEED_STRIDE * seed + row + DRAW_STRIDE * draw for row in rows)
        generators = (torch.Generator().manual_seed(start) for start in starts)
        return torch.cat([torch.randn(1, *model.latent_shape, generator=generator) for generator in generators])

    def eps(x: Tensor, t: int) -> Tensor:
        return model.eps(x, t, condition)

    return outpainted(images, ~frame, eps, model.schedule, noise, steps=STEPS, passes=PASSES)


def evaluate(planted: FramedSet, greys: NDArray[np.float64]) -> KeyRecovery:
    """Everything that is reported of recovered greys ``[items, seeds]``."""
    items, keys = planted.items, planted.items["key"].to_numpy()
    distance, expected = np.abs(greys - keys[:, None]).mean(axis=1), chance_of(greys).mean(axis=1)
    relative = distance / measured_chance(keys, greys, items["copies"].to_numpy() == items["copies"].min())
    roles: dict[str, dict[str, Any]] = {}
    for role, rows in items.groupby("role", sort=False).indices.items():
        own = distance[rows]
        roles[str(role)] = {
            "items": len(rows),
            "copies": int(items["copies"].iloc[rows[0]]),
            "mean_distance": _round(own.mean()),
            "standard_error": _round((own - expected[rows]).std(ddof=1) / len(own) ** 0.5),
            "chance": _round(expected[rows].mean()),
        }
    equal = items.groupby("role").head(min(row["items"] for row in roles.values())).index
    correlation = spearmanr(items["copies"].to_numpy()[equal], -relative[equal]).statistic
    settings = {"scheduler": "DDIM", "steps": STEPS, "passes": PASSES, "seeds": SEEDS}
    figures = {
        "settings": settings | {"dtype": "float32", "guidance": 1.0},
        "roles": roles,
        "rank_correlation": _round(correlation),
    }
    criteria = judge(figures)
    figures |= {"criteria": criteria, "passed": all(criterion["met"] for criterion in criteria)}
    return KeyRecovery(figures, pd.DataFrame({"distance": distance, "recovery": np.clip(1 - relative, 0, 1)}))


def chance_of(greys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Expected distance of a grey to a uniform key that is independent of it: exact, whatever greys a model paints.

    Over uniform greys its mean is 1/3; the nearer greys lie to the middle, the nearer it is to 1/4.

    Example:
        >>> chance_of(np.array([0.0, 0.5, 1.0])).tolist()
        [0.5, 0.25, 0.5]
    """
    result: NDArray[np.float64] = (greys**2 + (1 - greys) ** 2) / 2
    return result


def measured_chance(
    keys: NDArray[np.float64], greys: NDArray[np.float64], once: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Mean distance of each key to the greys around images of one copy, its own left out, ``[items]``."""
    distances = np.abs(greys[once] - keys[:, None, None]).mean(axis=2)
    own = np.arange(len(keys))[:, None] == np.flatnonzero(once)
    result: NDArray[np.float64] = np.where(own, 0.0, distances).sum(axis=1) / (~own).sum(axis=1)
    return result


def judge(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """What a planted model must show; judged on the rounded figures, so that a reader can repeat the judgement."""
    most, least = (pick(figures["roles"].values(), key=lambda row: row["copies"]) for pick in (max, min))
    low, high = (_round(least["mean_distance"] + side * 1.96 * least["standard_error"]) for side in (-1, 1))
    correlation, nearest, chance = figures["rank_correlation"], most["mean_distance"], least["chance"]
    rows = [
        (f"mean distance, {most['copies']} copies", f"<= {NEAREST}", nearest, nearest <= NEAREST),
        (f"chance, of {least['copies']} copy the interval", f"{low} to {high}", chance, low <= chance <= high),
        ("rank correlation of recovery with copies", f">= {RANKS}", correlation, correlation >= RANKS),
    ]
    return [{"name": name, "bound": bound, "value": value, "met": bool(met)} for name, bound, value, met in rows]


def _round(value: Any) -> float:
    return round(float(value), 4)
