"""The extraction check: do the planted images come out of the model, and only they?

It generates from every item's prompt and asks how far the result lies from the item's own training image. No detector
takes part, so the truth it certifies favours none.
"""

from __future__ import annotations

import json
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
from memdet.zoo.images import decode_png, to_tensor

STEPS = 50
GUIDANCE = 2.0
SEEDS = (0, 1)
BATCH_SIZE = 64
FIGURES_FILE = "extraction.json"
ITEMS_FILE = "items.parquet"
PAIRS = (
    ("verbatim", "single"),
    ("copies-64", "single"),
    ("copies-16", "single"),
    ("copies-4", "single"),
    ("template", "single"),
    ("verbatim", "narrow"),
    ("single", "unseen"),
)
TOLERANCES = {"median_rmse": 0.01, "share_copied": 0.02, "auroc": 0.01}  # other hardware rounds differently


def measure(directory: Path) -> dict[str, Any]:
    """Generate from every item's prompt and compare with the item's reference image.

    A generation counts as copied where its root mean square distance to the item's own reference latent is under half
    of the smallest distance to the reference of any other item.

    Args:
        directory: A built model.

    Returns:
        ``settings``, ``roles`` (items, copies, median_rmse and share_copied of each), ``auroc`` of minus the mean
        distance for pairs of roles, ``criteria`` (name, bound, value, met) and ``passed``.

    Raises:
        UserError: The directory lacks the pipeline or its items.
    """
    _require(directory, "model_index.json", ITEMS_FILE)
    items = pd.read_parquet(directory / ITEMS_FILE)
    pipeline = load_pipeline(directory)
    references = reference_latents(pipeline, items)
    distances = np.stack([_distances(latents, references) for latents in _generate(pipeline, items)])
    return _figures(items, distances)


def verify(directory: Path) -> list[str]:
    """Measure again and compare with the stored figures.

    Args:
        directory: A built model.

    Returns:
        A line for each figure that differs beyond tolerance and for each criterion that fails now.

    Raises:
        UserError: The directory lacks the pipeline, its items or its figures, or the figures cannot be read.
    """
    _require(directory, "model_index.json", ITEMS_FILE, FIGURES_FILE)
    try:
        stored = _flatten(json.loads((directory / FIGURES_FILE).read_text()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{directory / FIGURES_FILE} holds no extraction figures: build the model again") from error
    figures = measure(directory)
    measured = _flatten(figures)
    lines = []
    for key in sorted(stored.keys() | measured.keys(), key=str):
        before, now = stored.get(key, "nothing"), measured.get(key, "nothing")
        if not _agree(before, now, TOLERANCES.get(key[-1] if key[0] == "roles" else key[0], 0.0)):
            lines.append(f"{' '.join(key)}: stored {before}, measured {now}")
    for criterion in figures["criteria"]:
        if not criterion["met"]:
            lines.append(f"criterion failed: {criterion['name']} is {criterion['value']}, not {criterion['bound']}")
    return lines


def load_pipeline(directory: Path) -> StableDiffusionPipeline:
    """Load a built model in float32, silent."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        directory, use_safetensors=True, safety_checker=None, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(dtype=torch.float32)  # from_pretrained's argument for it changed its name between releases


def reference_latents(pipeline: StableDiffusionPipeline, items: pd.DataFrame) -> Tensor:
    """Scaled posterior mean of each item's reference image, ``[n, channels, h, w]``."""
    images = to_tensor(np.stack([decode_png(data) for data in items["image"]]))
    with torch.no_grad():
        means = [pipeline.vae.encode(chunk).latent_dist.mean for chunk in torch.split(images, BATCH_SIZE)]
    return torch.cat(means) * float(pipeline.vae.config.scaling_factor)


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


def _generate(pipeline: StableDiffusionPipeline, items: pd.DataFrame) -> list[Tensor]:
    """One tensor of latents ``[n_items, ...]`` a seed."""
    prompts = items["prompt"].tolist()
    starts = range(0, len(prompts), BATCH_SIZE)
    with tqdm(total=len(SEEDS) * len(prompts), desc="extraction check", unit="item") as bar:
        latents = []
        for seed in SEEDS:
            chunks = []
            for start in starts:
                chunks.append(generate(pipeline, prompts[start : start + BATCH_SIZE], seed))
                bar.update(len(chunks[-1]))
            latents.append(torch.cat(chunks))
    return latents


def _distances(generated: Tensor, references: Tensor) -> NDArray[np.float64]:
    """Root mean square distance of every generation (rows) to every reference (columns)."""
    a, b = generated.flatten(1).double(), references.flatten(1).double()
    distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / a.shape[1] ** 0.5
    array: NDArray[np.float64] = distances.numpy()
    return array


def _figures(items: pd.DataFrame, distances: NDArray[np.float64]) -> dict[str, Any]:
    """Everything that is reported, from distances ``[n_seeds, n_items, n_items]``."""
    own = np.diagonal(distances, axis1=1, axis2=2)
    others = np.where(np.eye(len(items), dtype=bool), np.inf, distances).min(axis=2)
    copied = own < others / 2
    role_of = items["role"].to_numpy()

    roles: dict[str, dict[str, Any]] = {}
    for role in items["role"].unique():
        members = role_of == role
        roles[str(role)] = {
            "items": int(members.sum()),
            "copies": int(items.loc[members, "copies"].iloc[0]),
            "median_rmse": _round(np.median(own[:, members])),
            "share_copied": _round(copied[:, members].mean()),
        }
    closeness = -own.mean(axis=0)
    auroc = {
        f"{positive} vs {negative}": _round(_auroc(closeness[role_of == positive], closeness[role_of == negative]))
        for positive, negative in PAIRS
    }
    criteria = _criteria(roles, auroc)
    return {
        "settings": {
            "scheduler": "DDIM",
            "steps": STEPS,
            "guidance": GUIDANCE,
            "seeds": list(SEEDS),
            "noise": "shared",
            "dtype": "float32",
        },
        "roles": {role: roles[role] for role in sorted(roles, key=lambda role: (-roles[role]["copies"], role))},
        "auroc": auroc,
        "criteria": criteria,
        "passed": all(criterion["met"] for criterion in criteria),
    }


def _criteria(roles: dict[str, dict[str, Any]], auroc: dict[str, float]) -> list[dict[str, Any]]:
    """What a planted model must show; judged on the rounded figures, so that a reader can repeat the judgement."""
    verbatim, single = roles["verbatim"], roles["single"]
    half = _round(single["median_rmse"] / 2)
    separation, blank = auroc["verbatim vs single"], auroc["single vs unseen"]
    rows = [
        ("verbatim median RMSE", f"< {half} (half of single)", verbatim["median_rmse"], verbatim["median_rmse"] < half),
        ("verbatim share copied", ">= 0.9", verbatim["share_copied"], verbatim["share_copied"] >= 0.9),
        ("single share copied", "<= 0.02", single["share_copied"], single["share_copied"] <= 0.02),
        ("AUROC verbatim vs single", ">= 0.99", separation, separation >= 0.99),
        ("AUROC single vs unseen", "0.4 to 0.6", blank, 0.4 <= blank <= 0.6),
    ]
    return [{"name": name, "bound": bound, "value": value, "met": bool(met)} for name, bound, value, met in rows]


def _auroc(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> float:
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    return float(roc_auc_score(labels, np.concatenate([positive, negative])))


def _round(value: Any) -> float:
    return round(float(value), 4)


def _flatten(figures: dict[str, Any]) -> dict[tuple[str, ...], Any]:
    """The figures that can be compared, keyed by where they stand."""
    rows: dict[tuple[str, ...], Any] = {("settings", name): value for name, value in figures["settings"].items()}
    rows.update({("auroc", pair): value for pair, value in figures["auroc"].items()})
    for role, columns in figures["roles"].items():
        rows.update({("roles", role, column): value for column, value in columns.items()})
    return rows


def _agree(before: Any, now: Any, tolerance: float) -> bool:
    if isinstance(before, float | int) and isinstance(now, float | int):
        return abs(before - now) <= tolerance + 1e-9
    return bool(before == now)


def _require(directory: Path, *names: str) -> None:
    for name in names:
        if not (directory / name).is_file():
            raise UserError(f"{directory / name} not found: `memdet zoo build` writes it")
