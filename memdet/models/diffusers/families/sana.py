"""Sana: a rectified flow with linear attention."""

from collections.abc import Sequence
from typing import Any

from memdet.models.diffusers.families.base import Family, by_prompt, by_size


def _told(pipeline: Any, conditions: Sequence[str]) -> dict[str, Any]:
    exact = {"use_resolution_binning": False, "clean_caption": False}
    return by_prompt(pipeline, conditions) | by_size(pipeline) | exact


FAMILY = Family(name="sana", pipelines=("SanaPipeline",), told=_told)
