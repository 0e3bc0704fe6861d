"""Lumina 2: a rectified flow that counts time from noise to image and returns minus the usual velocity."""

from collections.abc import Sequence
from typing import Any

from memdet.models.diffusers.families.base import Family, by_prompt, by_size, with_norm_of_cond


def _told(pipeline: Any, conditions: Sequence[str]) -> dict[str, Any]:
    return by_prompt(pipeline, conditions) | by_size(pipeline)


FAMILY = Family(
    name="lumina2",
    pipelines=("Lumina2Pipeline",),
    told=_told,
    negated=True,
    guided=with_norm_of_cond,
    null_first=False,
)
