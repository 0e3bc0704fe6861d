"""The extraction check of ``tiny-sd3``: that of ``tiny-sd`` with another pipeline and sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor

from memdet.models.diffusers.quiet import quiet
from memdet.zoo.tiny_sd import extraction
from memdet.zoo.tiny_sd.extraction import PromptExtraction

STEPS = 28
GUIDANCE = 2.0


def measure(directory: Path, seeds: Sequence[int]) -> PromptExtraction:
    """Generate from every item's prompt and compare with the item's own images.

    Args:
        directory: A built model.
        seeds: Of the noises from which each prompt's image is generated.

    Raises:
        UserError: The directory lacks the pipeline or its items.
    """
    found = extraction.measure(directory, seeds, load_pipeline, generate)
    settings = found.figures["settings"] | {"scheduler": "Euler", "steps": STEPS, "guidance": GUIDANCE}
    return replace(found, figures=found.figures | {"settings": settings})


def load_pipeline(directory: Path) -> StableDiffusion3Pipeline:
    """Load a built model in float32, silent."""
    without_t5 = {"text_encoder_3": None, "tokenizer_3": None}  # diffusers asks to be told
    with quiet():
        pipeline = StableDiffusion3Pipeline.from_pretrained(
            directory, use_safetensors=True, local_files_only=True, **without_t5
        )
        pipeline.set_progress_bar_config(disable=True)
        return pipeline.to(dtype=torch.float32)


def generate(pipeline: StableDiffusion3Pipeline, prompts: list[str], seed: int) -> Tensor:
    """Latents generated from ``prompts``, all from the one starting noise of ``seed``."""
    config = pipeline.transformer.config
    shape = (1, config.in_channels, config.sample_size, config.sample_size)
    noise = torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))
    latents: Tensor = pipeline(
        prompt=prompts,
        latents=noise.repeat(len(prompts), 1, 1, 1),
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE,
        max_sequence_length=pipeline.text_encoder.config.max_sequence_length,
        output_type="latent",
    ).images
    return latents
