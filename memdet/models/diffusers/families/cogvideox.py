"""CogVideoX: videos, whose latents have one more dimension, of frames."""

from memdet.models.diffusers.families.base import Family

FAMILY = Family(name="cogvideox", pipelines=("CogVideoXPipeline",), decode=None)
