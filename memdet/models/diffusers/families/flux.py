"""Flux: a rectified flow of packed latents, whose guidance is told to the network, so that there is no null branch."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from memdet.models.diffusers.families.base import Family, by_size, by_vae, unpacked


def _told(pipeline: Any, conditions: Sequence[str]) -> dict[str, Any]:
    return {"prompt": list(conditions)} | by_size(pipeline)


def _decode(pipeline: Any, latents: Tensor) -> Tensor:
    return by_vae(pipeline, unpacked(pipeline, latents))


FAMILY = Family(
    name="flux",
    pipelines=("FluxPipeline",),
    told=_told,
    told_scale=lambda scale: {},
    decode=_decode,
    without_rows=("txt_ids", "img_ids"),
    remark="a FluxPipeline's network is told its guidance, which stays at the pipeline's default",
)
