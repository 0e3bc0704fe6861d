"""Kandinsky 3: noise prediction on one text encoder, whose network pools all tokens of a batch's longest text."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import Tensor

from memdet.models.diffusers.families.base import Family


def _pooled(self: Any, x: Tensor, context: Tensor, context_mask: Tensor) -> Tensor:
    """The time embedding with a pooled text, of each text as if it were the only one of its call.

    The pipeline cuts texts one token behind the longest of a call, and the network then takes the mean of what is left:
    of a text alone these are its own tokens and one of padding. Here they are the same tokens in every batch.
    """
    mask = context_mask.to(dtype=context.dtype)  # [batch, 1, tokens], 0 where the text is
    length = (mask == 0).sum(dim=2)
    own = (torch.arange(mask.shape[2], device=mask.device) <= length).to(context.dtype)
    mean = (context * (own / own.sum(dim=1, keepdim=True)).unsqueeze(2)).sum(dim=1, keepdim=True)
    pooled: Tensor = x + self.attention(mean, context, mask).squeeze(1)
    return pooled


def _prepare(pipeline: Any) -> None:
    pooling = pipeline.unet.add_time_condition
    pooling.forward = MethodType(_pooled, pooling)


def _decode(pipeline: Any, latents: Tensor) -> Tensor:
    image: Tensor = pipeline.movq.decode(latents.to(pipeline.movq.dtype), force_not_quantize=True)["sample"]
    return image


FAMILY = Family(
    name="kandinsky3",
    pipelines=("Kandinsky3Pipeline",),
    denoiser="unet",
    latent="sample",
    told_scale=lambda scale: {"guidance_scale": scale - 1},  # it counts from the condition, others from the null branch
    decode=_decode,
    prepare=_prepare,
    remark="a Kandinsky3Pipeline's network reads the padding of its texts; each text is read as if alone in a call",
)
