"""Recipe of ``tiny-ddpm``: an unconditional pixel model of colour clip art that saw some pictures very often."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel
from torch import Tensor

from memdet.io_utils import png_bytes, replacing, write_text
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.training_images import write_training_images
from memdet.zoo import load_recipe
from memdet.zoo.clip_art.atlas import load_atlas
from memdet.zoo.images import to_tensor
from memdet.zoo.tiny_ddpm import card, extraction
from memdet.zoo.tiny_ddpm.planting import PlantedPictures, plant
from memdet.zoo.tiny_sd.planting import Role
from memdet.zoo.training import Schedule, train
from memdet.zoo.verification import read_figures, write_figures


@dataclass(frozen=True)
class TinyDDPM:
    """What distinguishes one unconditional model.

    Attributes:
        name: In the zoo.
        role_seed: Seed of the draw of the roles.
        groups: Drawn at random over the pictures; those of ``planting.ROLES`` if None.
        seed: Seed of initial weights and batches.
        schedule: Of the training.
        batch_size: Of a training step.
        generations: Of the extraction check.
    """

    name: str
    role_seed: int = 1
    groups: Mapping[str, Role] | None = None
    seed: int = 0
    schedule: Schedule = Schedule(steps=14_000, warmup=200)
    batch_size: int = 24
    generations: int = 1_200

    def reseeded(self, seed: int) -> TinyDDPM:
        """The same recipe with other roles, initial weights and batches."""
        return replace(self, role_seed=seed, seed=seed)

    def draw(self) -> PlantedPictures:
        """The training set."""
        return plant(load_atlas(), seed=self.role_seed, groups=self.groups)


# 336,000 draws over 62,560 entries: a single picture is seen 5 times, one of 64 copies 340 times, one of 512 2,750.
TINY_DDPM = TinyDDPM(name="tiny-ddpm")


def build(recipe: TinyDDPM, out: Path, data: Path | None = None) -> dict[str, Any]:
    """Train the model, save the pipeline, its items, generations and card, and run the extraction check.

    Args:
        recipe: Which model.
        out: Directory of the pipeline; ``out/training`` holds the checkpoints of an unfinished build.
        data: Not asked for: the motifs ship with memdet.

    Returns:
        The figures of the extraction check.
    """
    planted = recipe.draw()
    work = out / "training"
    unet, losses = train_unet(recipe, planted, work / "unet.pt")
    with quiet():
        DDPMPipeline(unet=unet, scheduler=make_scheduler()).to(dtype=torch.float16).save_pretrained(out)
    write_training_images(out, {recipe.name: planted.plan})

    measured = extraction.measure(out, planted, recipe.generations)
    images = [png_bytes(image) for image in planted.item_images]
    _save_table(planted.items.join(measured.columns).assign(image=images), out / extraction.ITEMS_FILE)
    _save_table(measured.generated, out / extraction.GENERATED_FILE)
    training = {
        "role_seed": recipe.role_seed,
        "loss": round(losses[-1], 4),
        "training_set": int(planted.copies.sum()),
        "distinct_images": len(planted.images),
        "unused": len(planted.unused),
        "unseen": int((planted.items["copies"] == 0).sum()),
    }
    write_figures(out, recipe.name, training, measured.figures)
    write_text(out / "README.md", card.render(asdict(recipe), training, measured.figures))
    shutil.rmtree(work)
    return measured.figures


def measure(directory: Path) -> dict[str, Any]:
    """Figures of the extraction check of a built model; its training set is drawn again."""
    stored = read_figures(directory)
    recipe: TinyDDPM = load_recipe(stored["recipe"]).reseeded(stored["training"]["role_seed"])
    return extraction.measure(directory, recipe.draw(), stored["settings"]["generations"]).figures


def make_scheduler() -> DDPMScheduler:
    """Linear noise schedule of Ho et al. 2020."""
    return DDPMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        num_train_timesteps=1_000,
        clip_sample=False,
        steps_offset=1,
    )


def make_unet() -> UNet2DModel:
    """Unconditional UNet on 32 x 32 colour pictures, 1.4 M parameters; narrow where pictures are large, to be cheap."""
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        block_out_channels=(16, 32, 64, 80),
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=16,
        norm_num_groups=8,
    )


def train_unet(recipe: TinyDDPM, planted: PlantedPictures, checkpoint: Path) -> tuple[UNet2DModel, list[float]]:
    """Train the network; gives it in float32, with its losses."""
    torch.manual_seed(recipe.seed)
    unet = make_unet()
    alphas = make_scheduler().alphas_cumprod
    image_of = torch.from_numpy(planted.image_of)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        image = image_of[torch.randint(len(image_of), (recipe.batch_size,), generator=generator)]
        x0 = to_tensor(planted.images[image.numpy()])
        t = torch.randint(len(alphas), (recipe.batch_size,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        alpha_bar = alphas[t].view(-1, 1, 1, 1)
        prediction: Tensor = unet(alpha_bar.sqrt() * x0 + (1 - alpha_bar).sqrt() * noise, t).sample
        return (prediction - noise).square().mean()

    losses = train([unet], loss_of, recipe.schedule, seed=recipe.seed, checkpoint=checkpoint, label=recipe.name)
    return unet, losses


def _save_table(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
