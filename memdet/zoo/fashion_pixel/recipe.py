"""Recipes of the class-conditional pixel models: ``fashion-pixel`` and ``fashion-multi``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from numpy.typing import NDArray
from torch import Tensor

from memdet.io_utils import png_bytes, replacing, write_text
from memdet.models.diffusers.class_conditional import LABELS_FILE
from memdet.models.diffusers.training_images import write_training_images
from memdet.zoo import load_recipe
from memdet.zoo.fashion import load_fashion_mnist
from memdet.zoo.fashion_pixel import card as pixel_card
from memdet.zoo.fashion_pixel import extraction as pixel_extraction
from memdet.zoo.fashion_pixel.data import SIZE, Group, PixelSet, draw
from memdet.zoo.fashion_pixel.second_order import second_order_term
from memdet.zoo.images import to_tensor
from memdet.zoo.training import Schedule, train
from memdet.zoo.verification import read_figures, write_figures

KEPT_VARIANTS = 100  # images of labels with at most so many are stored beside the weights


@dataclass(frozen=True)
class FashionPixel:
    """What distinguishes one pixel model.

    Attributes:
        name: In the zoo.
        groups: Planted groups of labels, by role.
        schedule: Of the training.
        dropout: Probability that a label is replaced by the null class.
        check: How the model is sampled and judged after training.
        data_seed: Of the draw of labels and images.
        seed: Of initial weights and batches.
        batch_size: Of a training step.
        second_order_weight: Weight of the second-order score-matching term in the loss.
        second_order_trial: Schedule and weight of a short further training that measures what the term does to the
            symmetry of the Jacobian; its weights are thrown away.
        named_by_garment: Whether the conditions are names of garments.
    """

    name: str
    groups: Mapping[str, Group]
    schedule: Schedule
    dropout: float
    check: pixel_extraction.Check
    data_seed: int = 1
    seed: int = 0
    batch_size: int = 64
    second_order_weight: float = 0.0
    second_order_trial: tuple[Schedule, float] | None = None
    named_by_garment: bool = False

    def reseeded(self, seed: int) -> FashionPixel:
        """The same recipe with other labels, images, initial weights and batches."""
        return replace(self, data_seed=seed, seed=seed)

    def draw(self, data: Path | None) -> PixelSet:
        """Training set, from the Fashion-MNIST files in ``data`` or wherever they are found."""
        images, classes = load_fashion_mnist(data)
        return draw(images, classes, self.groups, seed=self.data_seed, named_by_garment=self.named_by_garment)


FASHION_PIXEL = FashionPixel(
    name="fashion-pixel",
    groups={
        "memorized": Group(labels=1, variants=1, copies=100, garment="trouser"),
        "broad": Group(labels=1, variants=3_000, copies=1, garment="t-shirt"),
    },
    schedule=Schedule(steps=4_000, learning_rate=1e-3),
    dropout=0.2,
    check=pixel_extraction.PIXEL_CHECK,
    second_order_trial=(Schedule(steps=300, learning_rate=1e-4, average=None), 0.1),
    named_by_garment=True,
)
# Copies are shares of the batches: 896,000 draws over 96,000 entries are 2,333 exposures of each memorized image, 467
# of each concentrated one and 9 of each of the thousand; half as many exposures copy in half of the generations only.
# Concentrated labels have as many images as those of ten.
FASHION_MULTI = FashionPixel(
    name="fashion-multi",
    groups={
        "images-1": Group(labels=20, variants=1, copies=250),
        "images-3": Group(labels=20, variants=3, copies=250),
        "images-10": Group(labels=20, variants=10, copies=250),
        "concentrated": Group(labels=12, variants=10, copies=50),
        "images-1000": Group(labels=20, variants=1_000, copies=1),
    },
    schedule=Schedule(steps=14_000, learning_rate=2e-3),
    dropout=0.1,
    check=pixel_extraction.MULTI_CHECK,
)


def build(recipe: FashionPixel, out: Path, data: Path | None = None) -> dict[str, Any]:
    """Train the model, save the pipeline, its items, images and card, and run the extraction check.

    Args:
        recipe: Which model.
        out: Directory of the pipeline; ``out/training`` holds the checkpoints of an unfinished build.
        data: Directory of the Fashion-MNIST files; None looks for them.

    Returns:
        The figures of the extraction check.
    """
    planted = recipe.draw(data)
    work = out / "training"
    unet, losses = train_unet(recipe, planted, work / "unet.pt")
    training: dict[str, Any] = {
        "data_seed": recipe.data_seed,
        "loss": round(losses[-1], 4),
        "training_set": len(planted.image_of),
        "distinct_images": len(planted.images),
    }
    if recipe.second_order_trial:
        training["second_order"] = second_order_effect(recipe, planted, unet, work)

    pipeline = DDIMPipeline(unet=unet, scheduler=make_scheduler())
    pipeline.to(dtype=torch.float16).save_pretrained(out)
    write_text(out / LABELS_FILE, json.dumps(planted.items["condition"].tolist(), indent=1) + "\n")
    _save_images(planted, out / "images.parquet")
    write_training_images(out, {recipe.name: planted.images})

    measured = pixel_extraction.measure(out, recipe.check, planted)
    _save_table(planted.items.join(measured.columns), out / pixel_extraction.ITEMS_FILE)
    if measured.generated is not None:
        _save_table(measured.generated, out / "generated.parquet")
    write_figures(out, recipe.name, training, measured.figures)
    write_text(out / "README.md", pixel_card.render(asdict(recipe), training, measured.figures))
    shutil.rmtree(work)
    return measured.figures


def measure(directory: Path) -> dict[str, Any]:
    """Figures of the extraction check of a built model; its training set is drawn again from Fashion-MNIST."""
    stored = read_figures(directory)
    recipe: FashionPixel = load_recipe(stored["recipe"]).reseeded(stored["training"]["data_seed"])
    return pixel_extraction.measure(directory, recipe.check, recipe.draw(None)).figures


def make_scheduler() -> DDIMScheduler:
    """Linear noise schedule of Ho et al. 2020."""
    return DDIMScheduler(
        beta_start=1e-4,
        beta_end=0.02,
        beta_schedule="linear",
        num_train_timesteps=1_000,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def make_unet(labels: int) -> UNet2DModel:
    """Class-conditional UNet on 16 x 16 grey images, 1.1 M parameters; the class after the labels is the null class."""
    return UNet2DModel(
        sample_size=SIZE,
        in_channels=1,
        out_channels=1,
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=16,
        num_class_embeds=labels + 1,
    )


def train_unet(
    recipe: FashionPixel, planted: PixelSet, checkpoint: Path, start: UNet2DModel | None = None
) -> tuple[UNet2DModel, list[float]]:
    """Train a network, from random weights or on from ``start``, which is left as it is.

    Returns:
        The network in float32, and its losses.
    """
    null = len(planted.items)
    if start is None:
        torch.manual_seed(recipe.seed)
        unet = make_unet(null)
    else:
        unet = deepcopy(start)
    alphas = make_scheduler().alphas_cumprod
    images = to_tensor(planted.images)
    image_of, label_of = torch.from_numpy(planted.image_of), torch.from_numpy(planted.label_of)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        image = image_of[torch.randint(len(image_of), (recipe.batch_size,), generator=generator)]
        x0 = images[image]
        t = torch.randint(len(alphas), (recipe.batch_size,), generator=generator)
        noise = torch.randn(x0.shape, generator=generator)
        dropped = torch.rand(recipe.batch_size, generator=generator) < recipe.dropout
        label = torch.where(dropped, null, label_of[image])
        alpha_bar = alphas[t]
        sigma = (1 - alpha_bar).sqrt()
        noisy = alpha_bar.sqrt().view(-1, 1, 1, 1) * x0 + sigma.view(-1, 1, 1, 1) * noise

        def network(x: Tensor) -> Tensor:
            prediction: Tensor = unet(x, t, label).sample
            return prediction

        if not recipe.second_order_weight:
            return (network(noisy) - noise).square().mean()
        signs = torch.randint(2, x0.shape, generator=generator).to(x0) * 2 - 1
        second, prediction = second_order_term(network, noisy, noise, sigma, signs)
        return (prediction - noise).square().mean() + recipe.second_order_weight * second

    losses = train([unet], loss_of, recipe.schedule, seed=recipe.seed, checkpoint=checkpoint, label=recipe.name)
    return unet, losses


def second_order_effect(recipe: FashionPixel, planted: PixelSet, unet: UNet2DModel, work: Path) -> dict[str, Any]:
    """Train on for a while with and without the second-order term, on the same batches, and compare the Jacobians.

    Returns:
        ``steps, learning_rate, weight``, and ``asymmetry``: of the network as it was (``before``), and after training
        on ``without`` and ``with`` the term; each a median by timestep.
    """
    assert recipe.second_order_trial is not None
    schedule, weight = recipe.second_order_trial
    networks = {"before": unet}
    for name, factor in (("without", 0.0), ("with", weight)):
        trial = replace(recipe, name=f"{name} the second-order term", schedule=schedule, second_order_weight=factor)
        networks[name], _ = train_unet(trial, planted, work / f"{name}.pt", start=unet)
    alphas = make_scheduler().alphas_cumprod
    return {
        "steps": schedule.steps,
        "learning_rate": schedule.learning_rate,
        "weight": weight,
        "asymmetry": {
            name: pixel_extraction.median_asymmetry(_noise_of(network), alphas, planted, recipe.check.timesteps)
            for name, network in networks.items()
        },
    }


def _noise_of(unet: UNet2DModel) -> pixel_extraction.NoisePrediction:
    def eps(x: Tensor, t: int, labels: Tensor) -> Tensor:
        prediction: Tensor = unet(x, t, labels).sample
        return prediction

    return eps


def _save_images(planted: PixelSet, path: Path) -> None:
    """Write the training images of labels with few of them, a row each: label, source index and PNG."""
    variants = planted.items["variants"].to_numpy()[planted.label_of]
    kept: NDArray[np.int64] = np.flatnonzero(variants <= KEPT_VARIANTS)
    table = pd.DataFrame(
        {
            "condition": planted.items["condition"].to_numpy()[planted.label_of[kept]],
            "source_index": planted.source_index[kept],
            "image": [png_bytes(image) for image in planted.images[kept]],
        }
    )
    _save_table(table, path)


def _save_table(table: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)
