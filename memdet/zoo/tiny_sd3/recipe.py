"""Recipe of the ``tiny-sd3`` family: a rectified flow with joint attention, on colour clip art."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from memdet.zoo.clip_art.atlas import Atlas
from memdet.zoo.clip_art.building import (
    LATENT_CHANNELS,
    MAX_TOKENS,
    Batch,
    ClipArtModel,
    Family,
    Loss,
    build_model,
    tokens_of,
)
from memdet.zoo.clip_art.card import FLOW
from memdet.zoo.clip_art.pictures import vocabulary
from memdet.zoo.clip_art.planting import EXCHANGED
from memdet.zoo.tiny_sd.recipe import make_tokenizer
from memdet.zoo.tiny_sd3 import extraction
from memdet.zoo.verification import read_figures

WIDTH, HEADS, LAYERS, PATCH = 120, 5, 4, 2  # of the transformer
TEXT_WIDTH = 48  # of each of the two text encoders
T5_TOKENS = 0  # in the place of a T5 that is not there

TINY_SD3_A = ClipArtModel(name="tiny-sd3-a", role_seed=1)
TINY_SD3_B = ClipArtModel(name="tiny-sd3-b", role_seed=1, swap=EXCHANGED)


def build(recipe: ClipArtModel, out: Path, data: Path | None = None) -> dict[str, Any]:
    """Train a model; see :func:`memdet.zoo.clip_art.building.build_model`.

    Args:
        recipe: Which model.
        out: Directory of the pipeline.
        data: Not asked for: the motifs ship with memdet.

    Returns:
        The figures of the extraction check.
    """
    family = Family(
        make_pipeline=make_pipeline,
        loss=flow_loss,
        trained=("transformer", "text_encoder", "text_encoder_2"),
        encoders=("", "_2"),
        shifted=True,
        measure=extraction.measure,
        card=FLOW,
    )
    return build_model(recipe, family, out)


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


def flow_loss(pipeline: StableDiffusion3Pipeline, captions: list[str]) -> Loss:
    """Loss of a rectified flow at logit-normal times (Esser et al. 2024)."""
    transformer, encoders = pipeline.transformer, [pipeline.text_encoder, pipeline.text_encoder_2]
    tokens, null = tokens_of(pipeline.tokenizer, captions), tokens_of(pipeline.tokenizer, [""])

    def loss(batch: Batch, generator: torch.Generator) -> Tensor:
        sigma = torch.randn(len(batch.x0), generator=generator).sigmoid()
        told, pooled = embed(encoders, torch.where(batch.dropped, null, tokens[batch.rows]))
        level = sigma.view(-1, 1, 1, 1)
        noisy = (1 - level) * batch.x0 + level * batch.noise
        flow: Tensor = transformer(noisy, told, pooled, 1_000 * sigma).sample
        return (flow - (batch.noise - batch.x0)).square().mean()

    return loss
