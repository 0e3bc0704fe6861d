"""DiT: a class-conditional transformer of latents; the null class is the last one."""

from collections.abc import Sequence
from typing import Any

from memdet.models.diffusers.families.base import GUIDANCE, Family


def _told(pipeline: Any, conditions: Sequence[str]) -> dict[str, Any]:
    return {"class_labels": [int(text) for text in conditions], "guidance_scale": GUIDANCE}


def _classes(pipeline: Any) -> int:
    return int(pipeline.transformer.config.num_embeds_ada_norm)


FAMILY = Family(
    name="dit", pipelines=("DiTPipeline",), told=_told, takes_prompts=False, classes=_classes, null_first=False
)
