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
    """Height and width of the images that a pipeline's network was made for: as it says, else as its autoencoder."""
    size = getattr(pipeline.transformer.config, "sample_size", None)
    if size is None:
        size = getattr(pipeline.vae.config, "sample_size", None) or (
            pipeline.default_sample_size * pipeline.vae_scale_factor
        )
        return {"height": size, "width": size}
    return {"height": size * pipeline.vae_scale_factor, "width": size * pipeline.vae_scale_factor}


def by_vae(pipeline: Any, latents: Tensor) -> Tensor:
    """Images in [-1, 1] of latents by an autoencoder with a factor, a shift, or moments of each channel."""
    vae = pipeline.vae
    if torch.float16 in (vae.dtype, latents.dtype) and getattr(vae.config, "force_upcast", False):
        vae.to(torch.float32)
    config, x = vae.config, latents.to(vae.dtype)
    mean, std = (getattr(config, name, None) for name in ("latents_mean", "latents_std"))
    x = x / (getattr(config, "scaling_factor", None) or 1.0)
    if mean is not None and std is not None:
        shape = (1, -1, *[1] * (x.ndim - 2))
        x = x * torch.tensor(std).to(x).view(shape) + torch.tensor(mean).to(x).view(shape)
    else:
        x = x + (getattr(config, "shift_factor", None) or 0.0)
    image: Tensor = vae.decode(x, return_dict=False)[0]
    return image


def unpacked(pipeline: Any, latents: Tensor) -> Tensor:
    """Latents as the autoencoder takes them, of a sequence of patches ``[batch, length, channels]``."""
    unpacked: Tensor = pipeline._unpack_latents(
        latents, **by_size(pipeline), vae_scale_factor=pipeline.vae_scale_factor
    )
    return unpacked


def told_scale(scale: float) -> dict[str, Any]:
    """How most pipelines are told a guidance scale."""
    return {"guidance_scale": scale}


def with_norm_of_cond(cond: Tensor, null: Tensor, scale: float) -> Tensor:
    """Guidance whose result has the norm that the conditional output has along the last dimension."""
    guided = null + scale * (cond - null)
    norms = [x.norm(dim=-1, keepdim=True) for x in (cond, guided)]
    kept: Tensor = guided * (norms[0] / norms[1])
    return kept


@dataclass(frozen=True)
class Family:
    """Pipelines that tell their network the same things in the same way.

    Attributes:
        name: Of the family.
        pipelines: Names of the classes of diffusers.
        denoiser: Component that is the network.
        latent: Name of its argument that is the noisy latent.
        told: Arguments of a pipeline's call for conditions.
        told_scale: Arguments of a pipeline's call for a guidance scale.
        decode: Images in [-1, 1] of latents; None of videos, which are no images.
        refused: Classes that look alike and are not read, with the reason.
        negated: Whether the network returns minus what the scheduler takes.
        takes_prompts: Whether conditions are text.
        classes: Number of classes, where conditions are their numbers.
        null_first: Whether pipelines evaluate the null branch before the condition; None where nobody knows, so that
            the trajectory alone shows whether they were mistaken for each other.
        without_rows: Names of arguments that are the same for all items, and tensors without a row an item.
        guided: The pipelines' guidance, of the outputs of both branches and the scale; None is the usual one.
        prepare: Changes a pipeline's network so that items of a batch do not interact; None where they never do.
        most_tokens: How many tokens a pipeline keeps of what was encoded, where it cuts afterwards; with those that it
            drops before.
        remark: What a user should know of how the pipelines are read.
        listed: Whether memdet's tests hold it against diffusers; else each model needs a certificate to be read.
    """

    name: str
    pipelines: tuple[str, ...]
    denoiser: str = "transformer"
    latent: str = "hidden_states"
    told: Callable[[Any, Sequence[str]], dict[str, Any]] = by_prompt
    told_scale: Callable[[float], dict[str, Any]] = told_scale
    decode: Callable[[Any, Tensor], Tensor] | None = by_vae
    refused: Mapping[str, str] = field(default_factory=dict)
    negated: bool = False
    takes_prompts: bool = True
    classes: Callable[[Any], int] | None = None
    null_first: bool | None = True
    without_rows: tuple[str, ...] = ()
    guided: Callable[[Tensor, Tensor, float], Tensor] | None = None
    prepare: Callable[[Any], None] | None = None
    most_tokens: Callable[[Any], int] | None = None
    remark: str = ""
    listed: bool = True
