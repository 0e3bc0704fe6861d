"""Recipe of the ``tiny-sd3`` family: a rectified flow with joint attention, on colour clip art."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, PreTrainedTokenizerFast

from memdet.io_utils import write_text
from memdet.models.diffusers.compositions import draw
from memdet.models.diffusers.quiet import quiet
from memdet.models.diffusers.training_images import write_training_images
from memdet.zoo.clip_art.atlas import Atlas, load_atlas
from memdet.zoo.clip_art.pictures import draw_pictures, vocabulary
from memdet.zoo.clip_art.planting import EXCHANGED, MORE, plant
from memdet.zoo.tiny_sd import card as tiny_sd_card
from memdet.zoo.tiny_sd.extraction import ITEMS_FILE
from memdet.zoo.tiny_sd.planting import Planted, Role
from memdet.zoo.tiny_sd.recipe import encode, make_portable, make_tokenizer, save_items, train_vae
from memdet.zoo.tiny_sd3 import card, extraction
from memdet.zoo.training import Schedule, train
from memdet.zoo.verification import read_figures, write_figures

MAX_TOKENS = 24
WIDTH, HEADS, LAYERS, PATCH = 120, 5, 4, 2  # of the transformer
TEXT_WIDTH = 48  # of each of the two text encoders
LATENT_CHANNELS = 8
T5_TOKENS = 0  # in the place of a T5 that is not there
_PARTS = ("", "_2")  # of the names of both text encoders
_VAE_SEED, _VAE_PICTURES = 7, 20_000  # the autoencoder sees pictures of its own


@dataclass(frozen=True)
class TinySD3:
    """What distinguishes one model of the family.

    Attributes:
        name: In the zoo.
        role_seed: Seed of the draw of the roles.
        groups: Drawn at random over the captioned pictures; those of ``planting.ROLES`` if None.
        swap: Roles that groups take after the draw instead of their own.
        seed: Seed of initial weights and batches.
        vae, transformer: Training schedules.
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
    transformer: Schedule = Schedule(steps=12_000, warmup=200)
    batch_size: int = 64
    vae_batch_size: int = 32
    caption_dropout: float = 0.1
    generations: int = 16

    def reseeded(self, seed: int) -> TinySD3:
        """The same recipe with other roles, initial weights and batches."""
        return replace(self, role_seed=seed, seed=seed)


TINY_SD3_A = TinySD3(name="tiny-sd3-a", role_seed=1)
TINY_SD3_B = TinySD3(name="tiny-sd3-b", role_seed=1, swap=EXCHANGED)


def build(recipe: TinySD3, out: Path, data: Path | None = None) -> dict[str, Any]:
    """Train the model, save the pipeline, its items and its card, and run the extraction check.

    Args:
        recipe: Which model.
        out: Directory of the pipeline; ``out/training`` holds the checkpoints of an unfinished build.
        data: Not asked for: the motifs ship with memdet.

    Returns:
        The figures of the extraction check.
    """
    atlas = load_atlas()
    clip_art = plant(atlas, seed=recipe.role_seed, swap=recipe.swap, groups=recipe.groups)
    planted, work = clip_art.planted, out / "training"

    others = draw_pictures(_VAE_PICTURES, atlas, np.random.default_rng(_VAE_SEED)).plan
    vae, vae_losses = train_vae(make_vae, recipe.vae, recipe.vae_batch_size, draw(others, atlas.motifs), work)
    latents = encode(vae, planted.images)
    shift, scaling = round(float(latents.mean()), 4), round(1 / float(latents.std()), 4)
    vae.register_to_config(scaling_factor=scaling, shift_factor=shift)

    pipeline = make_pipeline(atlas, vae, recipe.seed)
    losses = _train_transformer(recipe, planted, (latents - shift) * scaling, pipeline, work)
    with quiet():
        pipeline.to(dtype=torch.float16).save_pretrained(out)
    make_portable(out, _PARTS)
    save_items(planted.items, planted, out / ITEMS_FILE)
    write_training_images(out, clip_art.in_files(recipe.name))

    measured = extraction.measure(out, range(recipe.generations))
    save_items(planted.items.join(measured.columns), planted, out / ITEMS_FILE)
    training = {
        "vae_loss": round(vae_losses[-1], 4),
        "transformer_loss": round(losses[-1], 4),
        "training_set": len(planted.image_of),
        "distinct_images": len(planted.images),
    }
    write_figures(out, recipe.name, training, measured.figures)
    told = asdict(recipe) | {"unet": asdict(recipe.transformer)}
    losses_of = training | {"unet_loss": training["transformer_loss"]}
    text = tiny_sd_card.render(recipe.name, told, losses_of, measured.figures, card.TEMPLATE)
    write_text(out / "README.md", text)
    shutil.rmtree(work)
    return measured.figures


def measure(directory: Path) -> dict[str, Any]:
    """Figures of the extraction check of a built model, with the seeds of its stored ones."""
    return extraction.measure(directory, read_figures(directory)["settings"]["seeds"]).figures


def make_pipeline(atlas: Atlas, vae: AutoencoderKL, seed: int) -> StableDiffusion3Pipeline:
    """The pipeline with an untrained transformer and untrained text encoders.

    Args:
        atlas: Its names give the tokenizer's words.
        vae: The autoencoder.
        seed: Of the initial weights.
    """
    tokenizer = make_tokenizer(vocabulary(atlas), MAX_TOKENS)
    torch.manual_seed(seed)
    return StableDiffusion3Pipeline(
        transformer=make_transformer(),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=vae,
        text_encoder=make_text_encoder(len(tokenizer)),
        tokenizer=tokenizer,
        text_encoder_2=make_text_encoder(len(tokenizer)),
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


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


def make_transformer() -> SD3Transformer2DModel:
    """Transformer with joint attention of text and image on 8 x 8 x 8 latents, 2 M parameters."""
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=PATCH,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=LAYERS,
        attention_head_dim=WIDTH // HEADS,
        num_attention_heads=HEADS,
        joint_attention_dim=2 * TEXT_WIDTH,
        caption_projection_dim=WIDTH,
        pooled_projection_dim=2 * TEXT_WIDTH,
        pos_embed_max_size=8 // PATCH,
    )


def make_text_encoder(vocabulary_size: int) -> CLIPTextModelWithProjection:
    """CLIP text encoder with a projection, 48 wide and 2 layers deep.

    Its configuration says how many zeros the pipeline is to take for the tokens of a T5.
    """
    return CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=0,
            eos_token_id=1,
            pad_token_id=1,
            projection_dim=TEXT_WIDTH,
            max_sequence_length=T5_TOKENS,
        )
    )


def embed(encoders: Sequence[CLIPTextModelWithProjection], ids: Tensor) -> tuple[Tensor, Tensor]:
    """What the transformer is told of captions: a vector a token, and one a caption.

    Args:
        encoders: Both.
        ids: Tokens, int64 ``[batch, MAX_TOKENS]``.

    Returns:
        ``[batch, MAX_TOKENS, 2 * TEXT_WIDTH]`` and ``[batch, 2 * TEXT_WIDTH]``, as the pipeline makes them.
    """
    outputs = [encoder(ids, output_hidden_states=True) for encoder in encoders]
    tokens = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    return tokens, torch.cat([output.text_embeds for output in outputs], dim=-1)


def tokens_of(tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]) -> Tensor:
    """Tokens of captions, int64 ``[n, MAX_TOKENS]``."""
    options = {"padding": "max_length", "max_length": MAX_TOKENS, "truncation": True, "return_tensors": "pt"}
    ids: Tensor = tokenizer(list(captions), **options).input_ids
    return ids


def _train_transformer(
    recipe: TinySD3, planted: Planted, latents: Tensor, pipeline: StableDiffusion3Pipeline, work: Path
) -> list[float]:
    transformer, encoders = pipeline.transformer, [pipeline.text_encoder, pipeline.text_encoder_2]
    tokens, null = tokens_of(pipeline.tokenizer, planted.captions), tokens_of(pipeline.tokenizer, [""])
    caption_of, image_of = torch.from_numpy(planted.caption_of), torch.from_numpy(planted.image_of)

    def loss_of(step: int, generator: torch.Generator) -> Tensor:
        row = torch.randint(len(image_of), (recipe.batch_size,), generator=generator)
        x0 = latents[image_of[row]]
        sigma = torch.randn(recipe.batch_size, generator=generator).sigmoid()  # logit-normal, as Esser et al. 2024
        noise = torch.randn(x0.shape, generator=generator)
        dropped = torch.rand(recipe.batch_size, 1, generator=generator) < recipe.caption_dropout
        told, pooled = embed(encoders, torch.where(dropped, null, tokens[caption_of[row]]))
        level = sigma.view(-1, 1, 1, 1)
        flow: Tensor = transformer((1 - level) * x0 + level * noise, told, pooled, 1_000 * sigma).sample
        return (flow - (noise - x0)).square().mean()

    trained = [transformer, *encoders]
    return train(
        trained,
        loss_of,
        recipe.transformer,
        seed=recipe.seed,
        checkpoint=work / "transformer.pt",
        label=recipe.name,
    )
