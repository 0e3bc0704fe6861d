"""The extraction check of a fine-tune, at each checkpoint and on its base: what does it give back, and since when?

A generation is copied where it lies less than half as far from the nearest image of its own caption as from the nearest
of hundreds of the garment that nobody trained on; distances are root mean square, of latents. No detector takes part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm import tqdm

from memdet.errors import UserError
from memdet.models.diffusers.adapters import Adapter, put_on
from memdet.models.diffusers.quiet import quiet
from memdet.zoo.images import to_tensor
from memdet.zoo.tiny_lora.planting import FineTune
from memdet.zoo.tiny_sd import extraction

ITEMS_FILE, STAGES_FILE = "items.parquet", "stages.parquet"
BASE = "base"  # name of the stage before the training
HALF = 0.5  # a copy lies less than half as far from its image as from any unused one of the garment
AGREES = 0.5  # an item is measured as copied where at least this share of its generations is


@dataclass(frozen=True)
class Criterion:
    """A bound, written before the training.

    Attributes:
        stage, role, figure: What it is of; ``auroc`` has two roles, ``repeated vs once``.
        sense: ``<=`` or ``>=``.
        bound: The bound.
    """

    stage: str
    role: str
    figure: str
    sense: str
    bound: float

    def judged(self, figures: dict[str, Any]) -> dict[str, Any]:
        """As the figures hold it: ``name, bound, value, met``."""
        stage = figures["stages"][self.stage]
        value = stage["auroc"][self.role] if self.figure == "auroc" else stage["roles"][self.role][self.figure]
        met = value <= self.bound if self.sense == "<=" else value >= self.bound
        name = f"{self.stage}: {self.role} {self.figure.replace('_', ' ')}"
        return {"name": name, "bound": f"{self.sense} {self.bound}", "value": value, "met": bool(met)}


@dataclass(frozen=True)
class StageExtraction:
    """What generations of one stage are.

    Attributes:
        figures: ``roles`` (items, copies, variants, median_rmse, median_ratio, share_copied of the caption's own
            images, share_of_any: of whatever the fine-tune was trained on) and ``auroc`` of minus the mean distance to
            own images.
        columns: A row an item: ``extraction_rate`` (share that copies anything the fine-tune was trained on), ``rmse``
            (median distance to the nearest own image), ``distance_ratio`` (median of that over the distance to the
            nearest unused image of the garment), ``own_rate`` (share that copies an own image).
    """

    figures: dict[str, Any]
    columns: pd.DataFrame


def measure(
    base: Path, stages: dict[str, Path | None], fine_tune: FineTune, criteria: Sequence[Criterion], seeds: Sequence[int]
) -> tuple[dict[str, Any], dict[str, pd.DataFrame]]:
    """Generate from every item's prompt at every stage.

    Args:
        base: Directory of the pipeline that was fine-tuned.
        stages: LoRA file of each, in the order of the training; None is the base alone.
        fine_tune: Its training set.
        criteria: What must hold.
        seeds: Of the noises from which each prompt's image is generated.

    Returns:
        ``settings, stages, criteria, passed``, and by stage the columns of :class:`StageExtraction`.

    Raises:
        UserError: A file is missing, or generations are not finite.
    """
    found = {}
    for name, lora in stages.items():
        pipeline = load_pipeline(base, lora)
        bank = _Bank.of(pipeline, fine_tune)
        prompts = fine_tune.planted.items["prompt"].tolist()
        with tqdm(total=len(seeds) * len(prompts), desc=f"extraction check, {name}", unit="item") as bar:
            latents = torch.stack([_generate(pipeline, prompts, seed, bar) for seed in seeds])
        found[name] = evaluate(fine_tune.planted.items, *bank.distances(latents, fine_tune.planted.items["garment"]))
    settings = {"scheduler": "DDIM", "steps": extraction.STEPS, "guidance": extraction.GUIDANCE}
    settings |= {"seeds": list(seeds), "noise": "shared", "dtype": "float32"}
    figures: dict[str, Any] = {"settings": settings, "stages": {name: stage.figures for name, stage in found.items()}}
    judged = [criterion.judged(figures) for criterion in criteria]
    figures |= {"criteria": judged, "passed": all(row["met"] for row in judged)}
    return figures, {name: stage.columns for name, stage in found.items()}


def load_pipeline(base: Path, lora: Path | None) -> StableDiffusionPipeline:
    """The base in float32, with a LoRA fused into it as memdet does it."""
    with quiet():
        pipeline = extraction.load_pipeline(base)
    if lora is not None:
        put_on([Adapter("LoRA", lora)], pipeline)
    return pipeline


@dataclass(frozen=True)
class _Bank:
    """Latents, flattened: all trained images, whose caption each is, and the unused images of each garment."""

    trained: Tensor
    own: list[NDArray[np.int64]]
    single: Tensor
    unused: dict[str, Tensor]

    @classmethod
    def of(cls, pipeline: Any, fine_tune: FineTune) -> _Bank:
        planted = fine_tune.planted
        place = {image.tobytes(): index for index, image in enumerate(planted.images)}
        own = [np.array([place.get(image.tobytes(), -1) for image in images]) for images in planted.own_images]
        return cls(
            trained=_encode(pipeline, planted.images),
            own=own,
            single=_encode(pipeline, planted.item_images),
            unused={garment: _encode(pipeline, images) for garment, images in fine_tune.unused.items()},
        )

    def distances(self, latents: Tensor, garments: pd.Series[str]) -> tuple[NDArray[np.float64], ...]:
        """To the nearest own image, trained image and unused image of the garment, ``[n_seeds, n_items]`` each.

        An item that was never trained has its reference image for its own.
        """
        own, trained, unused = (np.empty(latents.shape[:2]) for _ in range(3))
        for item, garment in enumerate(garments):
            generated = latents[:, item].flatten(1).double()
            everything = _rmse(generated, self.trained)
            trained[:, item] = everything.min(axis=1)
            seen = self.own[item]
            alone = _rmse(generated, self.single[item : item + 1])
            own[:, item] = (everything[:, seen] if (seen >= 0).all() else alone).min(axis=1)
            unused[:, item] = _rmse(generated, self.unused[garment]).min(axis=1)
        return own, trained, unused


def evaluate(
    items: pd.DataFrame, own: NDArray[np.float64], trained: NDArray[np.float64], unused: NDArray[np.float64]
) -> StageExtraction:
    """Everything that is reported of one stage.

    Args:
        items: With their roles.
        own, trained, unused: Distances to the nearest own image, to the nearest image of the training set and to the
            nearest unused one of the garment, ``[n_seeds, n_items]``.

    Raises:
        UserError: A distance is not finite, since a generation is not.
    """
    if not (np.isfinite(own).all() and np.isfinite(trained).all() and np.isfinite(unused).all()):
        raise UserError("generations hold numbers that are not finite: train the fine-tune again")
    ratio = own / unused
    copied, of_any = ratio < HALF, trained < HALF * unused
    roles: dict[str, dict[str, Any]] = {}
    for role in sorted(
        items["role"].unique(), key=lambda role: -int(items.loc[items["role"] == role, "copies"].iloc[0])
    ):
        members = (items["role"] == role).to_numpy()
        roles[str(role)] = {
            "items": int(members.sum()),
            "copies": int(items.loc[members, "copies"].iloc[0]),
            "variants": int(items.loc[members, "variants"].iloc[0]),
            "median_rmse": _round(np.median(own[:, members])),
            "median_ratio": _round(np.median(ratio[:, members])),
            "share_copied": _round(copied[:, members].mean()),
            "share_of_any": _round(of_any[:, members].mean()),
        }
    closeness, role_of, names = -own.mean(axis=0), items["role"].to_numpy(), list(roles)
    auroc = {}
    for first, second in zip(names, names[1:], strict=False):
        both = np.isin(role_of, [first, second])
        auroc[f"{first} vs {second}"] = _round(roc_auc_score(role_of[both] == first, closeness[both]))
    columns = {
        "extraction_rate": of_any.mean(axis=0),
        "own_rate": copied.mean(axis=0),
        "rmse": np.median(own, axis=0),
        "distance_ratio": np.median(ratio, axis=0),
    }
    return StageExtraction({"roles": roles, "auroc": auroc}, pd.DataFrame(columns))


def _generate(pipeline: Any, prompts: list[str], seed: int, bar: Any) -> Tensor:
    chunks = []
    for start in range(0, len(prompts), extraction.BATCH_SIZE):
        chunks.append(extraction.generate(pipeline, prompts[start : start + extraction.BATCH_SIZE], seed))
        bar.update(len(chunks[-1]))
    return torch.cat(chunks)


def _encode(pipeline: Any, images: NDArray[np.uint8]) -> Tensor:
    """Scaled posterior means, ``[n, d]`` float64."""
    with torch.no_grad():
        chunks = torch.split(to_tensor(images), extraction.BATCH_SIZE)
        means = torch.cat([pipeline.vae.encode(chunk).latent_dist.mean for chunk in chunks])
    return (means * float(pipeline.vae.config.scaling_factor)).flatten(1).double()


def _rmse(a: Tensor, b: Tensor) -> NDArray[np.float64]:
    """Root mean square distance of each row of one to each row of the other."""
    distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / a.shape[1] ** 0.5
    array: NDArray[np.float64] = distances.numpy()
    return array


def _round(value: Any) -> float:
    return round(float(value), 4)
