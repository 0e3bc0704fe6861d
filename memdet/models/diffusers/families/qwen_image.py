"""Qwen-Image: a rectified flow of packed latents; the null branch is the negative prompt of one blank."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from memdet.models.diffusers.families.base import GUIDANCE, Family, by_size, by_vae, unpacked, with_norm_of_cond

_BLANK = " "  # as its authors use it: the pipeline has no null branch without a negative prompt


def _told(pipeline: Any, conditions: Sequence[str]) -> dict[str, Any]:
    told = {"prompt": list(conditions), "negative_prompt": [_BLANK] * len(conditions)}
    return told | _told_scale(GUIDANCE) | by_size(pipeline)


def _told_scale(scale: float) -> dict[str, Any]:
    return {"true_cfg_scale": scale}


def _decode(pipeline: Any, latents: Tensor) -> Tensor:
    return by_vae(pipeline, unpacked(pipeline, latents))[:, :, 0]


def _most_tokens(pipeline: Any) -> int:
    """Its call drops the instruction before the prompt, and keeps 512 tokens of the rest by default."""
    return int(pipeline.prompt_template_encode_start_idx) + 512


FAMILY = Family(
    name="qwen-image",
    pipelines=("QwenImagePipeline",),
    told=_told,
    told_scale=_told_scale,
    decode=_decode,
    guided=with_norm_of_cond,
    most_tokens=_most_tokens,
    null_first=False,
)
