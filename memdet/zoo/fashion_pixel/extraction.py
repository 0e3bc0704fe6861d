"""The extraction check of the class-conditional pixel models: which labels give training images back?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from memdet.errors import UserError
from memdet.io_utils import png_bytes
from memdet.models.condition import Condition
from memdet.models.diffusers.class_conditional import ClassConditionalModel
from memdet.zoo.fashion_pixel.data import PixelSet
from memdet.zoo.fashion_pixel.second_order import asymmetry, jacobian
from memdet.zoo.images import to_tensor

STEPS = 100
BATCH_SIZE = 120
ITEMS_FILE = "items.parquet"
HALF = 0.5  # a copy lies less than half as far from a training image as from any unused image of its garment
ASYMMETRY_IMAGES = 4  # of each label


@dataclass(frozen=True)
class Check:
    """How a model is sampled and judged.

    Attributes:
        guidance: Of the sampling; 1 follows the condition alone.
        seeds: Generations of each label; those of one seed share their noise.
        criteria: Role, figure, ``<=`` or ``>=``, bound.
        keeps_generations: Whether the generations are stored as items of an image sample set.
        timesteps: Where the asymmetry of the Jacobian is measured.
    """

    guidance: float
    seeds: int
    criteria: tuple[tuple[str, str, str, float], ...]
    keeps_generations: bool = False
    timesteps: tuple[int, ...] = ()


PIXEL_CHECK = Check(
    guidance=5.0,
    seeds=120,
    criteria=(
        ("memorized", "median_ratio", "<=", 0.5),
        ("memorized", "share_copied", ">=", 0.5),
        ("broad", "median_ratio", ">=", 0.75),
        ("broad", "share_copied", "<=", 0.01),
    ),
    keeps_generations=True,
    timesteps=(10, 50, 200, 500, 990),
)
MULTI_CHECK = Check(
    guidance=1.0,
    seeds=8,
    criteria=(
        ("images-1", "median_rate", ">=", 0.7),
        ("images-3", "share_copied", ">=", 0.4),
        ("images-10", "share_copied", ">=", 0.1),
        ("concentrated", "share_copied", "<=", 0.05),
        ("images-1000", "share_copied", "<=", 0.01),
    ),
)


class NoisePrediction(Protocol):
    """Predicted noise at ``x`` ``[batch, ...]``, one timestep and class numbers ``[batch]``."""

    def __call__(self, x: Tensor, t: int, labels: Tensor) -> Tensor:
        """The shape of ``x``."""


@dataclass(frozen=True)
class LabelExtraction:
    """What the extraction check of a model of labels found.

    Attributes:
        figures: ``settings, roles`` (labels, variants, copies, median_rmse, median_ratio, share_copied,
            median_rate of each), ``asymmetry`` by timestep, ``criteria``
            (name, bound, value, met) and ``passed``.
        columns: A row a label, over its generations: ``extraction_rate`` (share copied), ``rmse`` (median distance to
            the nearest own training image), ``distance_ratio`` (median of that over the distance to the nearest unused
            image of the garment).
        generated: A row a generation, where they are kept: ``item_id, condition, role, split, distance_to_nearest,
            distance_ratio, image`` (PNG). Role ``memorized`` are copies; ``broad`` is the half of the broad class that
            lies farthest from its training images; ``between`` is the rest.
    """

    figures: dict[str, Any]
    columns: pd.DataFrame
    generated: pd.DataFrame | None


def measure(directory: Path, check: Check, planted: PixelSet) -> LabelExtraction:
    """Generate under every label and compare with the training images and with unused ones.

    Args:
        directory: A built model.
        check: How.
        planted: Its training set.

    Raises:
        UserError: No such model, or one of another training set.
    """
    model = ClassConditionalModel(directory)
    if model.conditions != planted.items["condition"].tolist():
        raise UserError(f"{directory} was not trained on the labels of this recipe")
    images = generate(model, directory, check.guidance, check.seeds)
    measured = evaluate(check, planted, images)
    if not check.timesteps:
        return measured
    alphas = torch.from_numpy(model.schedule.alphas).float().square()

    def eps(x: Tensor, t: int, labels: Tensor) -> Tensor:
        return model.eps(x, t, Condition.of(labels, "class_labels"))

    found = median_asymmetry(eps, alphas, planted, check.timesteps)
    return LabelExtraction(measured.figures | {"asymmetry": found}, measured.columns, measured.generated)


def generate(model: ClassConditionalModel, directory: Path, guidance: float, seeds: int) -> NDArray[np.uint8]:
    """Sample every label once a seed by DDIM, ``[seeds, labels, h, w]``.

    The noise of seed s is what ``torch.Generator().manual_seed(s)`` gives for one image, shared by all labels.
    """
    scheduler = DDIMScheduler.from_pretrained(directory / "scheduler")
    scheduler.set_timesteps(STEPS)
    noise = torch.cat([torch.randn(1, *model.latent_shape, generator=_generator(seed)) for seed in range(seeds)])
    classes = model.embed(model.conditions)
    x = noise.repeat_interleave(classes.size, dim=0)
    labels = Condition.cat([classes] * seeds)
    done = []
    with torch.no_grad(), tqdm(total=len(x), desc="extraction check", unit="image") as bar:
        for start in range(0, len(x), BATCH_SIZE):
            part, label = x[start : start + BATCH_SIZE], labels.rows(slice(start, start + BATCH_SIZE))
            for t in scheduler.timesteps.tolist():
                eps = model.eps(part, t, label)
                if guidance != 1:
                    null = model.eps(part, t, model.embed_null())
                    eps = null + guidance * (eps - null)
                part = scheduler.step(eps, t, part).prev_sample
            drawn = model.decode(part)
            if not bool(drawn.isfinite().all()):
                raise UserError(f"{directory} generates pixels that are not finite numbers: train it again")
            done.append((drawn * 255).round().byte())
            bar.update(len(part))
    images: NDArray[np.uint8] = torch.cat(done).view(seeds, classes.size, *model.latent_shape[1:]).numpy()
    return images


def evaluate(check: Check, planted: PixelSet, images: NDArray[np.uint8]) -> LabelExtraction:
    """Everything that is reported of the generations ``[seeds, labels, h, w]``, but for the asymmetry."""
    items = planted.items
    own, unused = np.empty(images.shape[:2]), np.empty(images.shape[:2])
    for label, garment in enumerate(items["garment"]):
        own[:, label] = nearest(images[:, label], planted.of_label(label))
        unused[:, label] = nearest(images[:, label], planted.unused[garment])
    ratio = own / unused
    role_of = items["role"].to_numpy()
    copied = ratio < HALF
    rate = copied.mean(axis=0)
    columns = pd.DataFrame(
        {"extraction_rate": rate, "rmse": np.median(own, axis=0), "distance_ratio": np.median(ratio, axis=0)}
    )
    roles: dict[str, dict[str, Any]] = {}
    for role in sorted(set(role_of), key=lambda role: _order(items[role_of == role].iloc[0])):
        members = role_of == role
        first = items[members].iloc[0]
        roles[str(role)] = {
            "labels": int(members.sum()),
            "variants": int(first["variants"]),
            "copies": int(first["copies"]),
            "median_rmse": _round(np.median(own[:, members])),
            "median_ratio": _round(np.median(ratio[:, members])),
            "share_copied": _round(copied[:, members].mean()),
            "median_rate": _round(np.median(rate[members])),
        }
    criteria = judge(check, roles)
    figures = {
        "settings": {
            "scheduler": "DDIM",
            "steps": STEPS,
            "guidance": check.guidance,
            "seeds": check.seeds,
            "noise": "shared",
            "dtype": "float32",
        },
        "roles": roles,
        "asymmetry": {},
        "criteria": criteria,
        "passed": all(criterion["met"] for criterion in criteria),
    }
    generated = _generated(planted, images, own, ratio, copied) if check.keeps_generations else None
    return LabelExtraction(figures, columns, generated)


def judge(check: Check, roles: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What a planted model must show; judged on the rounded figures, so that a reader can repeat the judgement."""
    criteria = []
    for role, figure, sense, bound in check.criteria:
        value = roles[role][figure]
        met = value <= bound if sense == "<=" else value >= bound
        criteria.append(
            {
                "name": f"{role} {figure.replace('_', ' ')}",
                "bound": f"{sense} {bound}",
                "value": value,
                "met": bool(met),
            }
        )
    return criteria


def nearest(images: NDArray[np.uint8], references: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Root mean square distance, on the scale from -1 to 1, of each image to the nearest reference."""
    a, b = (to_tensor(group).flatten(1).double() for group in (images, references))
    distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").min(dim=1).values / a.shape[1] ** 0.5
    array: NDArray[np.float64] = distances.numpy()
    return array


def median_asymmetry(
    eps: NoisePrediction,
    alphas_cumprod: Tensor,
    planted: PixelSet,
    timesteps: tuple[int, ...],
) -> dict[str, float]:
    """Median asymmetry of the whole conditional Jacobian, by timestep, at noisy training images of every label.

    Args:
        eps: Of a model.
        alphas_cumprod: Squared factor of the clean image at each timestep.
        planted: The training set.
        timesteps: Where.
    """
    shape = (ASYMMETRY_IMAGES, *planted.images.shape[1:])
    x0 = to_tensor(np.concatenate([np.resize(planted.of_label(i), shape) for i in range(len(planted.items))]))
    labels = torch.arange(len(planted.items)).repeat_interleave(ASYMMETRY_IMAGES)
    noise = torch.randn(x0.shape, generator=_generator(0))
    found = {}
    for t in timesteps:
        alpha_bar = alphas_cumprod[t]
        noisy = alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise
        matrix = jacobian(partial(eps, t=t, labels=labels), noisy)
        found[str(t)] = _round(asymmetry(matrix).median())
    return found


def _generated(
    planted: PixelSet,
    images: NDArray[np.uint8],
    own: NDArray[np.float64],
    ratio: NDArray[np.float64],
    copied: NDArray[np.bool_],
) -> pd.DataFrame:
    frames = []
    for label, (condition, role) in enumerate(zip(planted.items["condition"], planted.items["role"], strict=True)):
        distance = own[:, label]
        chosen = copied[:, label] if role == "memorized" else distance >= np.median(distance)
        count = len(distance)
        in_dev = np.random.default_rng([label, count]).permutation(count) < count // 4
        frames.append(
            pd.DataFrame(
                {
                    "item_id": [f"{condition}-{index:03d}" for index in range(count)],
                    "condition": condition,
                    "role": np.where(chosen, role, "between"),
                    "split": np.where(in_dev, "dev", "test"),
                    "distance_to_nearest": distance,
                    "distance_ratio": ratio[:, label],
                    "image": [png_bytes(image) for image in images[:, label]],
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def _order(item: pd.Series[Any]) -> tuple[int, int]:
    """Few images first, then many copies."""
    return int(item["variants"]), -int(item["copies"])


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def _round(value: Any) -> float:
    return round(float(value), 4)
