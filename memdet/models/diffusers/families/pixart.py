"""PixArt-alpha and PixArt-sigma: a transformer that predicts noise and its variance, of which the noise is read."""

from collections.abc import Sequence
from typing import Any

from memdet.models.diffusers.families.base import Family, by_prompt, by_size


def _told(pipeline: Any, conditions: Sequence[str]) -> dict[str, Any]:
    exact = {"use_resolution_binning": False, "clean_caption": False}
    return by_prompt(pipeline, conditions) | by_size(pipeline) | exact


FAMILY = Family(name="pixart", pipelines=("PixArtAlphaPipeline", "PixArtSigmaPipeline"), told=_told)
