"""Stable Diffusion XL: two text encoders, a pooled text vector and sizes."""

from memdet.models.diffusers.families.base import Family

_REFINER = "it refines images of another model; name the base's directory, whose pipeline is StableDiffusionXLPipeline"
FAMILY = Family(
    name="sdxl",
    pipelines=("StableDiffusionXLPipeline",),
    denoiser="unet",
    latent="sample",
    refused={"StableDiffusionXLImg2ImgPipeline": _REFINER},
)
