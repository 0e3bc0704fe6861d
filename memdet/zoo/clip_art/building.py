"""What all models of clip art are built by: data, autoencoder, check and card; a recipe brings its network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from memdet.io_utils import write_text
from memdet.models.diffusers.compositions import draw
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.training_images import write_training_images
from memdet.zoo.clip_art.atlas import Atlas, load_atlas
from memdet.zoo.clip_art.pictures import draw_pictures
from memdet.zoo.clip_art.planting import MORE, plant
from memdet.zoo.tiny_sd import card
from memdet.zoo.tiny_sd.extraction import ITEMS_FILE, PromptExtraction
from memdet.zoo.tiny_sd.planting import Planted, Role
from memdet.zoo.tiny_sd.recipe import encode, make_portable, save_items, train_vae
from memdet.zoo.training import Schedule, train
from memdet.zoo.verification import write_figures

MAX_TOKENS = 24  # of the longest caption
LATENT_CHANNELS = 8
VAE_SEED, VAE_PICTURES = 7, 20_000  # the autoencoder sees pictures of its own


@dataclass(frozen=True)
class ClipArtModel:
    """What distinguishes one model of a family.

    Attributes:
        name: In the zoo.
        role_seed: Seed of the draw of the roles.
        groups: Drawn at random over the captioned pictures; those of ``planting.ROLES`` if None.
        swap: Roles that groups take after the draw instead of their own.
        seed: Seed of initial weights and batches.
        vae, network: Training schedules.
        batch_size, vae_batch_size: Of a training step.
        caption_dropout: Probability that a caption is replaced by the empty one.
        generations: Of each item in the extraction check.
    """

    name: str
    role_seed: int
    groups: dict[str, Role] | None = None
    swap: dict[str, str] = field(default_factory=lambda: dict(MORE))
    seed: int = 0
    vae: Schedule = Schedule(steps=4_000, learning_rate=2e-3, warmup=100, weight_decay=0.0, average=None)
    network: Schedule = Schedule(steps=12_000, warmup=200)
    batch_size: int = 64
    vae_batch_size: int = 32
    caption_dropout: float = 0.1
    generations: int = 16

    def reseeded(self, seed: int) -> ClipArtModel:
        """The same recipe with other roles, initial weights and batches."""
        return replace(self, role_seed=seed, seed=seed)


@dataclass(frozen=True)
class Batch:
    """What a training step takes.

    Attributes:
        x0: Latents, ``[batch, channels, h, w]``.
        noise: Of the same shape.
        rows: Of the captions, int64 ``[batch]``.
        dropped: Which captions are replaced by the empty one, ``[batch, 1]``.
    """

    x0: Tensor
    noise: Tensor
    rows: Tensor
    dropped: Tensor


Loss = Callable[[Batch, torch.Generator], Tensor]


@dataclass(frozen=True)
class Family:
    """What distinguishes a family of models.

    Attributes:
        make_pipeline: Gives the untrained pipeline from the motifs, the autoencoder and a seed.
        loss: Gives the loss of a step of training, from the pipeline and the captions.
        trained: Names of the pipeline's parts that are trained together.
        encoders: What follows ``text_encoder`` in the names of its text encoders.
        shifted: Whether the pipeline takes the mean of all latents from them.
        measure: The extraction check, of a directory and noise seeds.
        card: Template of the card.
    """

    make_pipeline: Callable[[Atlas, AutoencoderKL, int], Any]
    loss: Callable[[Any, list[str]], Loss]
    trained: tuple[str, ...]
    encoders: tuple[str, ...]
    shifted: bool
    measure: Callable[[Path, Any], PromptExtraction]
    card: str


def build_model(recipe: ClipArtModel, family: Family, out: Path) -> dict[str, Any]:
    """Train a model, save the pipeline, its items and its card, and run the extraction check.

    Args:
        recipe: Which model.
        family: Its family.
        out: Directory of the pipeline; ``out/training`` holds the checkpoints of an unfinished build.

    Returns:
        The figures of the extraction check.
    """
    atlas = load_atlas()
    clip_art = plant(atlas, seed=recipe.role_seed, swap=recipe.swap, groups=recipe.groups)
    planted, work = clip_art.planted, out / "training"

    others = draw_pictures(VAE_PICTURES, atlas, np.random.default_rng(VAE_SEED)).plan
    vae, vae_losses = train_vae(make_vae, recipe.vae, recipe.vae_batch_size, draw(others, atlas.motifs), work)
    latents = encode(vae, planted.images)
    shift = round(float(latents.mean()), 4) if family.shifted else None
    scaling = round(1 / float(latents.std()), 4)
    vae.register_to_config(scaling_factor=scaling, shift_factor=shift)

    pipeline = family.make_pipeline(atlas, vae, recipe.seed)
    losses = _train_network(recipe, family, planted, (latents - (shift or 0)) * scaling, pipeline, work)
    with quiet():
        pipeline.to(dtype=torch.float16).save_pretrained(out)
    make_portable(out, family.encoders)
    save_items(planted.items, planted, out / ITEMS_FILE)
    write_training_images(out, clip_art.in_files(recipe.name))

    measured = family.measure(out, range(recipe.generations))
    save_items(planted.items.join(measured.columns), planted, out / ITEMS_FILE)
    training = {
        "vae_loss": round(vae_losses[-1], 4),
        "unet_loss": round(losses[-1], 4),
        "training_set": len(planted.image_of),
        "distinct_images": len(planted.images),
    }
    write_figures(out, recipe.name, training, measured.figures)
    told = asdict(recipe) | {"unet": asdict(recipe.network)}
    write_text(out / "README.md", card.render(recipe.name, told, training, measured.figures, family.card))
    shutil.rmtree(work)
    return measured.figures


def make_vae() -> AutoencoderKL:
    """Autoencoder of 32 x 32 colour pictures to 8 x 8 x 8 latents."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 48),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=16,
        sample_size=32,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def tokens_of(tokenizer: Any, captions: list[str]) -> Tensor:
    """Tokens of captions, int64 ``[n, MAX_TOKENS]``."""
    options = {"padding": "max_length", "max_length": MAX_TOKENS, "truncation": True, "return_tensors": "pt"}
    ids: Tensor = tokenizer(captions, **options).input_ids
    return ids


def _train_network(  # the parts of one training
    recipe: ClipArtModel, family: Family, planted: Planted, latents: Tensor, pipeline: Any, work: Path
) -> list[float]:
    caption_of, image_of = torch.from_numpy(planted.caption_of), torch.from_numpy(planted.image_of)
    loss = family.loss(pipeline, planted.captions)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        row = torch.randint(len(image_of), (recipe.batch_size,), generator=generator)
        x0 = latents[image_of[row]]
        noise = torch.randn(x0.shape, generator=generator)
        dropped = torch.rand(recipe.batch_size, 1, generator=generator) < recipe.caption_dropout
        return loss(Batch(x0, noise, caption_of[row], dropped), generator)

    return train(
        [getattr(pipeline, part) for part in family.trained],
        loss_of,
        recipe.network,
        seed=recipe.seed,
        checkpoint=work / "network.pt",
        label=recipe.name,
    )
