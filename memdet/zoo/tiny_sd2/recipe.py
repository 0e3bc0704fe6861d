"""Recipe of ``tiny-sd2``: the clip art of ``tiny-sd3`` on a UNet that predicts v, whose schedule ends in pure noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline
from torch import Tensor

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
from memdet.zoo.clip_art.card import V_PREDICTION
from memdet.zoo.clip_art.pictures import vocabulary
from memdet.zoo.tiny_sd import extraction
from memdet.zoo.tiny_sd.recipe import make_text_encoder, make_tokenizer, make_unet
from memdet.zoo.verification import read_figures

TINY_SD2_A = ClipArtModel(name="tiny-sd2-a", role_seed=1)  # the training set of tiny-sd3-a


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
        loss=v_loss,
        trained=("unet", "text_encoder"),
        encoders=("",),
        shifted=False,
        measure=extraction.measure,
        card=V_PREDICTION,
    )
    return build_model(recipe, family, out)


def measure(directory: Path) -> dict[str, Any]:
    """Figures of the extraction check of a built model, with the seeds of its stored ones."""
    return extraction.measure(directory, read_figures(directory)["settings"]["seeds"]).figures


def make_pipeline(atlas: Atlas, vae: AutoencoderKL, seed: int) -> StableDiffusionPipeline:
    """The pipeline with an untrained UNet and an untrained text encoder.

    Args:
        atlas: Its names give the tokenizer's words.
        vae: The autoencoder.
        seed: Of the initial weights.
    """
    tokenizer = make_tokenizer(vocabulary(atlas), MAX_TOKENS)
    torch.manual_seed(seed)
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=make_text_encoder(len(tokenizer), MAX_TOKENS),
        tokenizer=tokenizer,
        unet=make_unet(LATENT_CHANNELS),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule, rescaled so that it ends in pure noise (Lin et al. 2024)."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        num_train_timesteps=1_000,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,  # the pipeline asks for it; trailing steps take none
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def v_loss(pipeline: StableDiffusionPipeline, captions: list[str]) -> Loss:
    """Loss of a prediction of v = alpha noise - sigma x0 (Salimans and Ho 2022)."""
    unet, encoder, alphas = pipeline.unet, pipeline.text_encoder, pipeline.scheduler.alphas_cumprod
    tokens, null = tokens_of(pipeline.tokenizer, captions), tokens_of(pipeline.tokenizer, [""])

    def loss(batch: Batch, generator: torch.Generator) -> Tensor:
        t = torch.randint(len(alphas), (len(batch.x0),), generator=generator)
        alpha, sigma = (level.sqrt().view(-1, 1, 1, 1) for level in (alphas[t], 1 - alphas[t]))
        told = encoder(torch.where(batch.dropped, null, tokens[batch.rows])).last_hidden_state
        predicted: Tensor = unet(alpha * batch.x0 + sigma * batch.noise, t, told).sample
        v: Tensor = alpha * batch.noise - sigma * batch.x0
        return (predicted - v).square().mean()

    return loss
