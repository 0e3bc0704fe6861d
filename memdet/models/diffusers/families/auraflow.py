"""AuraFlow: a rectified flow on one text encoder."""

from collections.abc import Sequence
from typing import Any

from memdet.models.diffusers.families.base import Family, by_prompt, by_size


def _told(pipeline: Any, conditions: Sequence[str]) -> dict[str, Any]:
    return by_prompt(pipeline, conditions) | by_size(pipeline)


FAMILY = Family(name="auraflow", pipelines=("AuraFlowPipeline",), told=_told)
