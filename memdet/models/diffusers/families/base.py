"""What a family of pipelines says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

GUIDANCE = 3.0  # any but 1, so that pipelines evaluate both branches


def by_prompt(pipeline: Any, conditions: Sequence[str]) -> dict[str, Any]:
    """How most pipelines are told conditions."""
    return {"prompt": list(conditions), "guidance_scale": GUIDANCE}


def by_size(pipeline: Any) -> dict[str, int]:
    """Height and width of the images that a pipeline's network was made for."""
    size = pipeline.transformer.config.sample_size * pipeline.vae_scale_factor
    return {"height": size, "width": size}


def by_vae(pipeline: Any, latents: Tensor) -> Tensor:
    """Images in [-1, 1] of latents by an autoencoder with a factor, a shift, or moments of each channel."""
    vae = pipeline.vae
    if torch.float16 in (vae.dtype, latents.dtype) and getattr(vae.config, "force_upcast", False):
        vae.to(torch.float32)
    config, x = vae.config, latents.to(vae.dtype)
    mean, std = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    if mean is not None and std is not None:
        shape = (1, -1, *[1] * (x.ndim - 2))
        x = x * torch.tensor(std).to(x).view(shape) / config.scaling_factor + torch.tensor(mean).to(x).view(shape)
    else:
        x = x / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
    image: Tensor = vae.decode(x, return_dict=False)[0]
    return image


@dataclass(frozen=True)
class Family:
    """Pipelines that tell their network the same things in the same way.

    Attributes:
        name: Of the family.
        pipelines: Names of the classes of diffusers.
        denoiser: Component that is the network.
        latent: Name of its argument that is the noisy latent.
        told: Arguments of a pipeline's call for conditions.
        decode: Images in [-1, 1] of latents.
        refused: Classes that look alike and are not read, with the reason.
        negated: Whether the network returns minus what the scheduler takes.
        takes_prompts: Whether conditions are text.
        null: Whether the pipelines have a null branch; guidance-distilled ones have none.
    """

    name: str
    pipelines: tuple[str, ...]
    denoiser: str = "transformer"
    latent: str = "hidden_states"
    told: Callable[[Any, Sequence[str]], dict[str, Any]] = by_prompt
    decode: Callable[[Any, Tensor], Tensor] = by_vae
    refused: Mapping[str, str] = field(default_factory=dict)
    negated: bool = False
    takes_prompts: bool = True
    null: bool = True
