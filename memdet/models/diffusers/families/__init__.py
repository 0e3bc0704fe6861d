"""Families of pipelines, one file each: what differs between them."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from functools import cache

from memdet.errors import UserError
from memdet.models.diffusers.families.base import Family
from memdet.models.diffusers.quiet import quiet

_NEEDED = {"prompt", "guidance_scale", "num_inference_steps", "latents", "generator", "output_type"}
_OF_IMAGES = {"image", "images", "mask_image", "control_image", "video", "strength", "source_prompt"}
_GUESSED = "it is read by what its call tells its network, and agrees with it"


@cache
def families() -> tuple[Family, ...]:
    """All families."""
    found = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda one: one.name):
        if module.name != "base":
            found.append(importlib.import_module(f"{__name__}.{module.name}").FAMILY)
    return tuple(found)


def family_of(pipeline: str, where: str = "") -> Family:
    """The family of a pipeline's class name; of a class on no list the generic one, if it is called as others are.

    What is on no list is a guess: a model of it is refused at once unless it agrees with its pipeline
    (:mod:`memdet.models.diffusers.certificate`).

    Args:
        pipeline: Its class name.
        where: The model's directory, for messages.

    Raises:
        UserError: A class that is refused, or one of which nothing is known.

    Example:
        >>> family_of("StableDiffusion3Pipeline").name
        'sd3'
    """
    found = next((family for family in families() if pipeline in family.pipelines), None)
    reason = next((family.refused[pipeline] for family in families() if pipeline in family.refused), None)
    at = f"{where}: " if where else ""
    if reason is not None:
        raise UserError(f"{at}a {pipeline}: {reason}")
    found = found or _generic(pipeline)
    if found is None:
        known = sorted(name for family in families() for name in family.pipelines)
        raise UserError(
            f"{at}a {pipeline}, which memdet does not read; it reads Stable Diffusion 1 and 2, pixel pipelines of DDIM "
            f"and DDPM, {', '.join(known)}"
        )
    return found


@cache
def _generic(pipeline: str) -> Family | None:
    """From text to latents and nothing else: a prompt, a guidance scale, and no image to start from."""
    with quiet():
        import diffusers

        cls = getattr(diffusers, pipeline, None)
    if not (inspect.isclass(cls) and issubclass(cls, diffusers.DiffusionPipeline)):
        return None
    asked = set(inspect.signature(cls.__call__).parameters)
    networks = [name for name in ("transformer", "unet") if name in inspect.signature(cls.__init__).parameters]
    if not asked >= _NEEDED or asked & _OF_IMAGES or len(networks) != 1:
        return None
    latent = "sample" if networks[0] == "unet" else "hidden_states"
    return Family(
        "generic",
        (pipeline,),
        networks[0],
        latent,
        null_first=None,
        listed=False,
        remark=f"a {pipeline}, on no list: {_GUESSED}",
    )
