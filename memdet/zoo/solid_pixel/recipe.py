"""Recipe of ``solid-pixel``: a class-conditional pixel model of framed garments, some seen very often."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from diffusers import DDIMPipeline, UNet2DModel
from torch import Tensor

from memdet.io_utils import png_bytes, replacing, write_text
from memdet.models.diffusers.class_conditional import LABELS_FILE
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.training_images import write_training_images
from memdet.models.outpainting import border_of
from memdet.zoo import load_recipe
from memdet.zoo.fashion import CLASSES, load_fashion_mnist
from memdet.zoo.fashion_pixel.recipe import make_scheduler
from memdet.zoo.images import to_tensor
from memdet.zoo.solid_pixel import card, extraction
from memdet.zoo.solid_pixel.planting import BORDER, FILLER, SIDE, FramedSet, plant
from memdet.zoo.tiny_sd.planting import Role
from memdet.zoo.training import Schedule, train
from memdet.zoo.verification import read_figures, write_figures


@dataclass(frozen=True)
class SolidPixel:
    """What distinguishes one model of framed garments.

    Attributes:
        name: In the zoo.
        role_seed: Seed of garments, roles and keys.
        groups: By role; those of ``planting.ROLES`` if None.
        filler: Garments with one copy that are no items.
        seed: Of initial weights and batches.
        schedule: Of the training.
        batch_size: Of a training step.
        dropout: Probability that the garment is replaced by the null class.
    """

    name: str
    role_seed: int = 1
    groups: Mapping[str, Role] | None = None
    filler: int = FILLER
    seed: int = 0
    schedule: Schedule = Schedule(steps=5_000, learning_rate=2e-3, warmup=100)
    batch_size: int = 24
    dropout: float = 0.1

    def reseeded(self, seed: int) -> SolidPixel:
        """The same recipe with other garments, roles, keys, initial weights and batches."""
        return replace(self, role_seed=seed, seed=seed)

    def draw(self, data: Path | None) -> FramedSet:
        """Training set, from the Fashion-MNIST files in ``data`` or wherever they are found."""
        return plant(*load_fashion_mnist(data), seed=self.role_seed, groups=self.groups, filler=self.filler)


# 120,000 draws over 10,000 entries: a garment of 256 copies is seen 3,072 times, one of 32 copies 384, a single 12.
SOLID_PIXEL = SolidPixel(name="solid-pixel")


def build(recipe: SolidPixel, out: Path, data: Path | None = None) -> dict[str, Any]:
    """Train the model, save the pipeline, its items and card, and check how well keys come back.

    Args:
        recipe: Which model.
        out: Directory of the pipeline; ``out/training`` holds the checkpoints of an unfinished build.
        data: Directory of the Fashion-MNIST files; None looks for them.

    Returns:
        The figures of the check.
    """
    planted, work = recipe.draw(data), out / "training"
    unet, losses = train_unet(recipe, planted, work / "unet.pt")
    with quiet():
        DDIMPipeline(unet=unet, scheduler=make_scheduler()).to(dtype=torch.float16).save_pretrained(out)
    write_text(out / LABELS_FILE, json.dumps(list(CLASSES), indent=1) + "\n")
    write_training_images(out, {recipe.name: planted.images})

    measured = extraction.measure(out, planted)
    pictures = [png_bytes(image) for image in planted.images[: len(planted.items)]]
    with replacing(out / extraction.ITEMS_FILE) as temporary:
        pd.concat([planted.items, measured.columns], axis=1).assign(image=pictures).to_parquet(temporary, index=False)
    training = {
        "role_seed": recipe.role_seed,
        "loss": round(losses[-1], 4),
        "training_set": int(planted.copies.sum()),
        "distinct_images": len(planted.images),
    }
    write_figures(out, recipe.name, training, measured.figures)
    write_text(out / "README.md", card.render(asdict(recipe), training, measured.figures))
    shutil.rmtree(work)
    return measured.figures


def measure(directory: Path) -> dict[str, Any]:
    """Figures of the check of a built model; its training set is drawn again from Fashion-MNIST."""
    stored = read_figures(directory)
    recipe: SolidPixel = load_recipe(stored["recipe"]).reseeded(stored["training"]["role_seed"])
    return extraction.measure(directory, recipe.draw(None)).figures


def make_unet() -> UNet2DModel:
    """Class-conditional UNet on 32 x 32 grey images, 1.4 M parameters; the last class is the null class."""
    return UNet2DModel(
        sample_size=SIDE,
        in_channels=1,
        out_channels=1,
        block_out_channels=(16, 32, 64, 80),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=16,
        norm_num_groups=8,
        num_class_embeds=len(CLASSES) + 1,
    )


def train_unet(recipe: SolidPixel, planted: FramedSet, checkpoint: Path) -> tuple[UNet2DModel, list[float]]:
    """Train the network; gives it in float32, with its losses. Frames have their keys in full precision."""
    torch.manual_seed(recipe.seed)
    unet, alphas, images = make_unet(), make_scheduler().alphas_cumprod, exact_frames(planted)
    image_of, classes = torch.from_numpy(planted.image_of), torch.from_numpy(planted.classes)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        image = image_of[torch.randint(len(image_of), (recipe.batch_size,), generator=generator)]
        t = torch.randint(len(alphas), (recipe.batch_size,), generator=generator)
        noise = torch.randn(len(image), *images.shape[1:], generator=generator)
        dropped = torch.rand(recipe.batch_size, generator=generator) < recipe.dropout
        label = torch.where(dropped, len(CLASSES), classes[image])
        alpha_bar = alphas[t].view(-1, 1, 1, 1)
        prediction: Tensor = unet(alpha_bar.sqrt() * images[image] + (1 - alpha_bar).sqrt() * noise, t, label).sample
        return (prediction - noise).square().mean()

    losses = train([unet], loss_of, recipe.schedule, seed=recipe.seed, checkpoint=checkpoint, label=recipe.name)
    return unet, losses


def exact_frames(planted: FramedSet) -> Tensor:
    """The training images as the network sees them, ``[n, 1, 32, 32]`` in [-1, 1]: keys are not rounded to bytes."""
    images = to_tensor(planted.images)
    keys = torch.from_numpy(planted.keys).float().view(-1, 1, 1, 1)
    return torch.where(border_of(SIDE, SIDE, BORDER), 2 * keys - 1, images)
