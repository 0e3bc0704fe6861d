"""Stable Diffusion 3 and 3.5: a rectified flow, joint attention of text and image."""

from memdet.models.diffusers.families.base import Family

FAMILY = Family(name="sd3", pipelines=("StableDiffusion3Pipeline",))
