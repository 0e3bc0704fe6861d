"""Stable Diffusion 3 and 3.5: a rectified flow, joint attention of text and image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memdet.models.diffusers.families.base import Family, by_prompt

LENGTH = "max_sequence_length"  # of the T5; in the first text encoder's configuration it replaces the call's default


def _told(pipeline: Any, conditions: Sequence[str]) -> dict[str, Any]:
    length = getattr(pipeline.text_encoder.config, LENGTH, None) if pipeline.text_encoder is not None else None
    return by_prompt(pipeline, conditions) | ({} if length is None else {LENGTH: length})


FAMILY = Family(name="sd3", pipelines=("StableDiffusion3Pipeline",), told=_told)
