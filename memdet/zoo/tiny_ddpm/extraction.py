"""The extraction check of ``tiny-ddpm``: which of its generations are copies of training pictures?

A generation is copied where it lies less than half as far from the nearest training picture as from the nearest of as
many pictures that were drawn alike and never trained on. A model that copies nothing is as near to the ones as to the
others, so the same rule with the two exchanged says how often it errs. No detector takes part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from diffusers import DDIMScheduler
from numpy.typing import NDArray
from tqdm import tqdm

from memdet.errors import UserError
from memdet.io_utils import png_bytes
from memdet.models.condition import Condition
from memdet.models.diffusers.class_conditional import ClassConditionalModel
from memdet.zoo.tiny_ddpm.planting import PlantedPictures

STEPS = 50
BATCH_SIZE = 60
ITEMS_FILE, GENERATED_FILE = "items.parquet", "generated.parquet"
HALF = 0.5  # a copy lies less than half as far from a training picture as from any unused one
NEW = 0.75  # from this ratio on a generation is taken for new; what lies between is neither
KEPT = 200  # generations of each kind that are stored
_AT_ONCE = 2_000  # pictures that distances are taken to
# Written before the training. The most copied pictures have a third of the training set, and as many draws.
MOST_COPIED = 0.5  # of the share of the training set that the pictures of most copies have
MOST_REACHED = 0.75  # of these pictures
SINGLES, MIRRORED = 0.01, 0.005  # at most, of the generations
ALL_COPIED = (0.15, 0.8)  # both kinds are there to be told apart


@dataclass(frozen=True)
class PictureExtraction:
    """What the extraction check of an unconditional model found.

    Attributes:
        figures: ``settings, roles`` (images, copies, share_of_training, share_copied of all generations, and
            images_copied at least once, of each), ``share_copied`` of all, ``mirrored`` (the ``share_copied`` of the
            unused pictures, by the same rule), ``new`` (``median_ratio`` of what is not copied), ``criteria`` (name,
            bound, value, met) and ``passed``.
        columns: A row an item: ``extraction_rate``, the share of all generations that copy it.
        generated: A row a generation that is kept: ``item_id, role`` (``copied`` or ``new``), ``stratum`` (the copies
            of what is copied), ``cluster`` (the picture that is copied, else the generation), ``split,
            distance_to_nearest, distance_ratio, image`` (PNG).
    """

    figures: dict[str, Any]
    columns: pd.DataFrame
    generated: pd.DataFrame


def measure(directory: Path, planted: PlantedPictures, generations: int) -> PictureExtraction:
    """Generate, and compare with all training pictures and with as many unused ones.

    Args:
        directory: A built model.
        planted: Its training set.
        generations: How many.

    Raises:
        UserError: No such model, or its generations are not finite.
    """
    return evaluate(planted, generate(directory, generations))


def generate(directory: Path, count: int) -> NDArray[np.uint8]:
    """Sample by DDIM, ``[count, 32, 32, 3]``; picture s starts from ``torch.Generator().manual_seed(s)``."""
    model = ClassConditionalModel(directory)
    scheduler = DDIMScheduler.from_pretrained(directory / "scheduler")
    scheduler.set_timesteps(STEPS)
    done = []
    with torch.no_grad(), tqdm(total=count, desc="extraction check", unit="image") as bar:
        for start in range(0, count, BATCH_SIZE):
            seeds = range(start, min(start + BATCH_SIZE, count))
            x = torch.cat([torch.randn(1, *model.latent_shape, generator=_generator(seed)) for seed in seeds])
            nothing = Condition.nothing(len(x))
            for t in scheduler.timesteps.tolist():
                x = scheduler.step(model.eps(x, t, nothing), t, x).prev_sample
            drawn = model.decode(x)
            if not bool(drawn.isfinite().all()):
                raise UserError(f"{directory} generates pixels that are not finite numbers: train it again")
            done.append((drawn * 255).round().byte().permute(0, 2, 3, 1))
            bar.update(len(x))
    images: NDArray[np.uint8] = torch.cat(done).numpy()
    return images


def evaluate(planted: PlantedPictures, images: NDArray[np.uint8]) -> PictureExtraction:
    """Everything that is reported of the generations ``[n, 32, 32, 3]``."""
    own, which = nearest(images, planted.images)
    unused, _ = nearest(images, planted.unused)
    ratio = own / np.maximum(unused, 1e-9)
    copied, mirrored = ratio < HALF, unused < HALF * own
    roles = {role: _of_role(planted, role, which[copied], len(images)) for role in _trained_roles(planted)}
    figures = {
        "settings": {"scheduler": "DDIM", "steps": STEPS, "generations": len(images), "dtype": "float32"},
        "roles": roles,
        "all": {"share_copied": _round(copied.mean())},
        "mirrored": {"share_copied": _round(mirrored.mean())},
        "new": {"median_ratio": _round(np.median(ratio[~copied])) if not copied.all() else 0.0},
    }
    criteria = judge(figures)
    figures |= {"criteria": criteria, "passed": all(criterion["met"] for criterion in criteria)}
    counts = pd.Series(planted.names[which[copied]], dtype=object).value_counts()
    rate = planted.items["item_id"].map(counts).fillna(0).to_numpy() / len(images)
    return PictureExtraction(
        figures, pd.DataFrame({"extraction_rate": rate}), _generated(planted, images, own, ratio, which)
    )


def judge(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """What a planted model must show; judged on the rounded figures, so that a reader can repeat the judgement."""
    role, most = next(iter(figures["roles"].items()))
    least, reached = _round(MOST_COPIED * most["share_of_training"]), round(MOST_REACHED * most["images"])
    single, mirrored = figures["roles"]["single"]["share_copied"], figures["mirrored"]["share_copied"]
    share, (low, high) = figures["all"]["share_copied"], ALL_COPIED
    ratio = figures["new"]["median_ratio"]
    rows = [
        (f"{role} share copied", f">= {least}", most["share_copied"], most["share_copied"] >= least),
        (f"{role} images copied", f">= {reached}", most["images_copied"], most["images_copied"] >= reached),
        ("single share copied", f"<= {SINGLES}", single, single <= SINGLES),
        ("share copied of unused pictures", f"<= {MIRRORED}", mirrored, mirrored <= MIRRORED),
        ("share copied", f"{low} to {high}", share, low <= share <= high),
        ("median ratio of what is not copied", f">= {NEW}", ratio, ratio >= NEW),
    ]
    return [{"name": name, "bound": bound, "value": value, "met": bool(met)} for name, bound, value, met in rows]


def nearest(images: NDArray[np.uint8], references: NDArray[np.uint8]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Root mean square distance, on the scale from -1 to 1, to the nearest reference, and which that is.

    Squares of bytes are whole numbers below 2 ** 53, so that the products are exact in whatever order they are summed.
    """
    rows = images.reshape(len(images), -1).astype(np.float64)
    least, which = np.full(len(rows), np.inf), np.zeros(len(rows), dtype=np.int64)
    for start in range(0, len(references), _AT_ONCE):
        part = references[start : start + _AT_ONCE].reshape(-1, rows.shape[1]).astype(np.float64)
        squares = np.square(part).sum(axis=1) - 2 * rows @ part.T
        index = squares.argmin(axis=1)
        found = squares[np.arange(len(rows)), index]
        nearer = found < least
        least[nearer], which[nearer] = found[nearer], start + index[nearer]
    squared = least + np.square(rows).sum(axis=1)
    distances: NDArray[np.float64] = np.sqrt(squared / rows.shape[1]) / 127.5
    return distances, which


def _trained_roles(planted: PlantedPictures) -> list[str]:
    """Roles of training pictures, from most copies to fewest."""
    copies = dict(zip(planted.roles.tolist(), planted.copies.tolist(), strict=True))
    return sorted(copies, key=lambda role: -copies[role])


def _of_role(planted: PlantedPictures, role: str, copied: NDArray[np.int64], generations: int) -> dict[str, Any]:
    """What is told of a role, where ``copied`` is the picture that each copy copies."""
    members = planted.roles == role
    of_role = copied[members[copied]]
    return {
        "images": int(members.sum()),
        "copies": int(planted.copies[members][0]),
        "share_of_training": _round(planted.copies[members].sum() / planted.copies.sum()),
        "share_copied": _round(len(of_role) / generations),
        "images_copied": len(np.unique(of_role)),
    }


def _generated(
    planted: PlantedPictures,
    images: NDArray[np.uint8],
    own: NDArray[np.float64],
    ratio: NDArray[np.float64],
    which: NDArray[np.int64],
) -> pd.DataFrame:
    """The first generations of each kind; copies of one picture are in one cluster, and one split."""
    kept = np.sort(np.concatenate([np.flatnonzero(ratio < HALF)[:KEPT], np.flatnonzero(ratio >= NEW)[:KEPT]]))
    ids = [f"generation-{index:04d}" for index in kept]
    copied = ratio[kept] < HALF
    clusters = [
        f"picture-{which[index]:05d}" if hit else name for index, hit, name in zip(kept, copied, ids, strict=True)
    ]
    table = pd.DataFrame(
        {
            "item_id": ids,
            "role": np.where(copied, "copied", "new"),
            "stratum": np.where(copied, planted.roles[which[kept]].astype(str), "new"),
            "cluster": clusters,
            "distance_to_nearest": own[kept],
            "distance_ratio": ratio[kept],
            "image": [png_bytes(image) for image in images[kept]],
        }
    )
    dev: set[str] = set()
    for role in ("copied", "new"):
        names = table.loc[table["role"] == role, "cluster"].unique()
        order = np.random.default_rng(len(names)).permutation(len(names))
        dev |= set(names[order[: len(names) // 4]])
    table.insert(4, "split", np.where(table["cluster"].isin(dev), "dev", "test"))
    return table


def _generator(seed: int) -> torch.Generator:
    return torch.Generator("cpu").manual_seed(seed)


def _round(value: Any) -> float:
    return round(float(value), 4)
