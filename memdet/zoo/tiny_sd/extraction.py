"""The extraction check: do the planted images come out of the model, and only they?

It generates from every item's prompt and asks how far the result lies from the item's own training image. No detector
takes part, so the truth it certifies favours none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor
from tqdm import tqdm

from memdet.errors import UserError
from memdet.io_utils import pixels_of_png
from memdet.zoo.images import to_tensor
from memdet.zoo.tiny_sd.planting import SEVERAL
from memdet.zoo.verification import require

STEPS = 50
GUIDANCE = 2.0
SEEDS = tuple(range(8))
BATCH_SIZE = 64
ITEMS_FILE = "items.parquet"
FALSE_COPIES = 0.01  # share of generations from unseen captions that the threshold lets pass
AGREES = 0.5  # an item is measured as copied where at least this share of its generations is
DISAGREEMENT, DOSE = "disagreement", "copies-"
PARTLY = (0.1, 0.6)  # share of generations that are copies
FALLEN = 2 / 3  # of the median distance of single items: an image that is approached, and not copied
RESOLVED = (3, (0.1, 0.9))  # so many doses have a rate strictly between


Load = Callable[[Path], Any]
Draw = Callable[[Any, list[str], int], Tensor]


@dataclass(frozen=True)
class PromptExtraction:
    """What the extraction check of a model of prompts found.

    Attributes:
        figures: ``settings``, ``threshold``, ``roles`` (items, copies, variants, median_rmse and share_copied of each),
            ``auroc`` of minus the mean distance for pairs of roles, ``disagreements``, ``criteria`` (name, bound,
            value, met) and ``passed``.
        columns: A row an item, over its generations: ``extraction_rate`` (share copied), ``rmse`` (median distance to
            its own reference), ``distance_ratio`` (median of that over the distance to the nearest other reference),
            ``measured_role``: the role, or ``disagreement`` for a verbatim item that is not copied and a single one
            that is; and ``regime``: of the verbatim items and of the doses ``copied``, ``partly`` or ``untouched``; of
            a single one that is copied at times ``disagreement``; else the role. ``partly`` is a caption given back in
            10 to 60 % of its generations, or in fewer while the median distance has fallen by a third.
    """

    figures: dict[str, Any]
    columns: pd.DataFrame


def measure(
    directory: Path, seeds: Sequence[int] = SEEDS, load: Load | None = None, draw: Draw | None = None
) -> PromptExtraction:
    """Generate from every item's prompt and compare with the item's own images.

    A generation counts as copied where its root mean square distance to the item's own reference latent is under a
    threshold calibrated on the captions that were never trained: one percent of their generations lie that close to any
    reference at all.

    Args:
        directory: A built model.
        seeds: Of the noises from which each prompt's image is generated.
        load: Gives the pipeline of the directory in float32; :func:`load_pipeline` if None.
        draw: Gives latents from a pipeline, prompts and a seed; :func:`generate` if None.

    Raises:
        UserError: The directory lacks the pipeline or its items.
    """
    require(directory, "model_index.json", ITEMS_FILE)
    items = pd.read_parquet(directory / ITEMS_FILE)
    pipeline = (load or load_pipeline)(directory)
    images, owners = own_images(items)
    references = _latents_of(pipeline, images)
    latents = _generate(pipeline, items["prompt"].tolist(), seeds, draw or generate)
    distances = np.stack([_distances(one, references) for one in latents])
    return evaluate_distances(items, distances, owners)


def own_images(items: pd.DataFrame) -> tuple[list[bytes], NDArray[np.int64]]:
    """The reference image of each item, then the others of those that have several; and the row of whose each is."""
    images, owners = list(items["image"]), list(range(len(items)))
    for row, several in enumerate(items.get("images", ())):
        if several is not None:
            images += list(several[1:])
            owners += [row] * (len(several) - 1)
    return images, np.array(owners)


def load_pipeline(directory: Path) -> StableDiffusionPipeline:
    """Load a built model in float32, silent."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        directory, use_safetensors=True, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(dtype=torch.float32)  # from_pretrained's argument for it changed its name between releases


def reference_latents(pipeline: StableDiffusionPipeline, items: pd.DataFrame) -> Tensor:
    """Scaled posterior mean of each item's reference image, ``[n, channels, h, w]``."""
    return _latents_of(pipeline, list(items["image"]))


def _latents_of(pipeline: DiffusionPipeline, pictures: list[bytes]) -> Tensor:
    images = to_tensor(np.stack([pixels_of_png(data) for data in pictures]))
    with torch.no_grad():
        means = [pipeline.vae.encode(chunk).latent_dist.mean for chunk in torch.split(images, BATCH_SIZE)]
    config = pipeline.vae.config
    return (torch.cat(means) - float(config.shift_factor or 0)) * float(config.scaling_factor)


def generate(pipeline: StableDiffusionPipeline, prompts: list[str], seed: int) -> Tensor:
    """Latents generated from ``prompts``, all from the one starting noise of ``seed``."""
    size = pipeline.unet.config.sample_size
    shape = (1, pipeline.unet.config.in_channels, size, size)
    noise = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))
    latents: Tensor = pipeline(
        prompt=prompts,
        latents=noise.repeat(len(prompts), 1, 1, 1),
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        output_type="latent",
    ).images
    return latents


def _generate(pipeline: DiffusionPipeline, prompts: list[str], seeds: Sequence[int], draw: Draw) -> list[Tensor]:
    """One tensor of latents ``[n_items, ...]`` a seed."""
    starts = range(0, len(prompts), BATCH_SIZE)
    with tqdm(total=len(seeds) * len(prompts), desc="extraction check", unit="item") as bar:
        latents = []
        for seed in seeds:
            chunks = []
            for start in starts:
                chunks.append(draw(pipeline, prompts[start : start + BATCH_SIZE], seed))
                bar.update(len(chunks[-1]))
            latents.append(torch.cat(chunks))
    return latents


def _distances(generated: Tensor, references: Tensor) -> NDArray[np.float64]:
    """Root mean square distance of every generation (rows) to every reference (columns)."""
    a, b = generated.flatten(1).double(), references.flatten(1).double()
    distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / a.shape[1] ** 0.5
    array: NDArray[np.float64] = distances.numpy()
    return array


def evaluate_distances(
    items: pd.DataFrame, distances: NDArray[np.float64], owners: NDArray[np.int64] | None = None
) -> PromptExtraction:
    """Everything that is reported.

    Args:
        items: With their roles.
        distances: Of generations to references, ``[n_seeds, n_items, n_references]``.
        owners: Row of the item whose image each reference is; one an item, in their order, if None. What lies nearest
            counts where an item has several.

    Raises:
        UserError: A distance is not finite, since a generation is not.
    """
    if not np.isfinite(distances).all():
        raise UserError("generations hold numbers that are not finite: train the model again")
    mine = np.arange(len(items))[:, None] == (np.arange(len(items)) if owners is None else owners)
    own, others = (np.where(kept, distances, np.inf).min(axis=2) for kept in (mine, ~mine))
    role_of = items["role"].to_numpy()
    threshold = float(np.quantile(distances[:, role_of == "unseen"].min(axis=2), FALSE_COPIES))
    copied = own < threshold
    rate = copied.mean(axis=0)
    wrong = ((role_of == "verbatim") & (rate < AGREES)) | ((role_of == "single") & (rate >= AGREES))
    columns = pd.DataFrame(
        {
            "extraction_rate": rate,
            "rmse": np.median(own, axis=0),
            "distance_ratio": np.median(own / others, axis=0),
            "measured_role": np.where(wrong, DISAGREEMENT, role_of),
        }
    )
    columns["regime"] = _regimes(role_of, rate, columns["rmse"].to_numpy())

    roles = _by_role(items, own, copied)
    closeness = -own.mean(axis=0)
    auroc = {
        f"{positive} vs {negative}": _round(_auroc(closeness[role_of == positive], closeness[role_of == negative]))
        for positive, negative in _pairs(roles)
    }
    criteria = _criteria(roles, auroc)
    figures = {
        "settings": {
            "scheduler": "DDIM",
            "steps": STEPS,
            "guidance": GUIDANCE,
            "seeds": list(range(len(distances))),
            "noise": "shared",
            "dtype": "float32",
        },
        "threshold": _round(threshold),
        "roles": {role: roles[role] for role in sorted(roles, key=lambda role: _most_seen(roles[role]))},
        "auroc": auroc,
        "n_disagreements": int(wrong.sum()),
        "disagreements": sorted(items.loc[wrong, "item_id"]),
        "criteria": criteria,
        "passed": all(criterion["met"] for criterion in criteria),
    }
    return PromptExtraction(figures, columns)


def _by_role(items: pd.DataFrame, own: NDArray[np.float64], copied: NDArray[np.bool_]) -> dict[str, dict[str, Any]]:
    """What is told of each role, from the distances to own images and what counts as copied, ``[n_seeds, n_items]``."""
    roles: dict[str, dict[str, Any]] = {}
    for role in items["role"].unique():
        members = (items["role"] == role).to_numpy()
        roles[str(role)] = {
            "items": int(members.sum()),
            "copies": int(items.loc[members, "copies"].iloc[0]),
            "variants": int(items.loc[members, "variants"].iloc[0]),
            "median_rmse": _round(np.median(own[:, members])),
            "share_copied": _round(copied[:, members].mean()),
        }
    return roles


def _doses(roles: Iterable[str]) -> list[str]:
    """Groups of so many copies, from most to fewest."""
    return sorted((role for role in roles if role.startswith(DOSE)), key=lambda role: -int(role.removeprefix(DOSE)))


def _pairs(roles: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Groups that are told apart by distance."""
    several = [role for role in roles if role.startswith(SEVERAL)]
    positives = ["verbatim", *_doses(roles), "template", *sorted(several)]
    return [*((role, "single") for role in positives), ("verbatim", "narrow"), ("single", "unseen")]


def _regimes(role_of: NDArray[np.object_], rate: NDArray[np.float64], rmse: NDArray[np.float64]) -> NDArray[np.object_]:
    """How far each item's image is given back; see :class:`PromptExtraction`."""
    low, high = PARTLY
    single = role_of == "single"
    fallen = rmse < FALLEN * np.median(rmse[single])
    measured = np.where(rate > high, "copied", np.where((rate >= low) | fallen, "partly", "untouched"))
    dosed = np.isin(role_of, ["verbatim", *_doses(set(role_of))])
    return np.where(dosed, measured, np.where(single & (rate >= low), DISAGREEMENT, role_of))


def _most_seen(row: dict[str, Any]) -> tuple[int, int]:
    return -row["copies"], -row["variants"]


def _criteria(roles: dict[str, dict[str, Any]], auroc: dict[str, float]) -> list[dict[str, Any]]:
    """What a planted model must show; judged on the rounded figures, so that a reader can repeat the judgement."""
    verbatim, single = roles["verbatim"], roles["single"]
    third = _round(single["median_rmse"] / 3)
    separation, blank = auroc["verbatim vs single"], auroc["single vs unseen"]
    rows = [
        (
            "verbatim median RMSE",
            f"< {third} (a third of single)",
            verbatim["median_rmse"],
            verbatim["median_rmse"] < third,
        ),
        ("verbatim share copied", ">= 0.9", verbatim["share_copied"], verbatim["share_copied"] >= 0.9),
        ("single share copied", "<= 0.02", single["share_copied"], single["share_copied"] <= 0.02),
        ("AUROC verbatim vs single", ">= 0.99", separation, separation >= 0.99),
        ("AUROC single vs unseen", "0.4 to 0.6", blank, 0.4 <= blank <= 0.6),
    ]
    wanted, (low, high) = RESOLVED
    doses = _doses(roles)
    if len(doses) > wanted:
        between = sum(low < roles[dose]["share_copied"] < high for dose in doses)
        rows.append((f"doses of which {low} to {high} is copied", f">= {wanted}", between, between >= wanted))
    return [{"name": name, "bound": bound, "value": value, "met": bool(met)} for name, bound, value, met in rows]


def _auroc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    return float(roc_auc_score(labels, np.concatenate([positive, negative])))


def _round(value: Any) -> float:
    return round(float(value), 4)
