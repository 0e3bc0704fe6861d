"""What a scheduler's configuration asks of a trajectory; a setting that cannot be honoured is refused by its name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from memdet.errors import UserError
from memdet.models.diffusers.quiet import quiet

BETA_SCHEDULES = ("linear", "scaled_linear", "squaredcos_cap_v2")
SPACINGS = ("leading", "trailing", "linspace")
# Noise levels of other samplers, which no spacing of DDIM visits.
_OTHER_LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas")
_SWITCHES = ("clip_sample", "thresholding", "set_alpha_to_one", "rescale_betas_zero_snr")
_MEND = "mend scheduler/scheduler_config.json"


def checked_config(config: Mapping[str, Any], *, latent: bool = False, where: str = "") -> dict[str, Any]:
    """A configuration that ``DDIMScheduler.from_config`` reads as the pipeline means it.

    Every setting of DDIM is kept as it is. One is filled in: latents have no range, so where a pipeline of latents says
    nothing of ``clip_sample`` it is false, as in ``StableDiffusionPipeline``; DDIM alone would take true.

    Args:
        config: Of any scheduler with betas.
        latent: Whether its samples are latents, not pixels.
        where: The model's directory, for messages.

    Raises:
        UserError: Another kind of scheduler, or a setting that is none or that DDIM cannot follow.

    Example:
        >>> checked_config({"_class_name": "PNDMScheduler", "steps_offset": 1}, latent=True)["clip_sample"]
        False
    """
    at = f"{where}: scheduler" if where else "scheduler"
    _check_class(config.get("_class_name"), at)
    for name in _OTHER_LEVELS:
        if config.get(name):
            raise UserError(
                f"{at}: {name} asks for noise levels that DDIM does not visit, and memdet's trajectories are DDIM's; "
                "set it to false there"
            )
    for name in _SWITCHES:
        if not isinstance(config.get(name, False), bool):
            raise UserError(f"{at}: {name} is {config[name]!r}, not true or false; {_MEND}")
    _check_choice(config, "timestep_spacing", SPACINGS, at)
    if config.get("trained_betas") is None:
        _check_choice(config, "beta_schedule", BETA_SCHEDULES, at)
    _check_numbers(config, at)
    filled = {"clip_sample": False} if latent else {}
    return filled | dict(config)


def notes_on(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings of a pipeline of latents that are honoured, though ``StableDiffusionPipeline`` itself overrides them."""
    notes = []
    if config.get("clip_sample"):
        notes.append(
            "the scheduler's clip_sample clips latents: trajectories do it, while StableDiffusionPipeline sets it false"
        )
    if config.get("steps_offset", 1) != 1:
        notes.append(
            f"the scheduler's steps_offset is {config['steps_offset']}: trajectories take it, while "
            "StableDiffusionPipeline sets it to 1"
        )
    return tuple(notes)


def _check_class(name: Any, at: str) -> None:
    """Refuse a scheduler whose noise is not that of betas."""
    if name is None:
        return
    with quiet():
        import diffusers

        cls = getattr(diffusers, str(name), None)
    if cls is None:
        raise UserError(f"{at} is a {name}, which the installed diffusers does not have; save the pipeline with DDIM")
    if "beta_schedule" not in inspect.signature(cls.__init__).parameters:
        raise UserError(
            f"{at} is a {name}, whose noise does not follow from betas; memdet reads DDIM, DDPM and others that do"
        )


def _check_choice(config: Mapping[str, Any], name: str, known: tuple[str, ...], at: str) -> None:
    given = config.get(name, known[0])
    if given not in known:
        raise UserError(f"{at}: {name} is {given!r}, not {', '.join(known[:-1])} or {known[-1]}; {_MEND}")


def _check_numbers(config: Mapping[str, Any], at: str) -> None:
    """Refuse numbers that are none, or out of range."""
    for name, least in (("num_train_timesteps", 1), ("steps_offset", 0)):
        given = config.get(name, least)
        if isinstance(given, bool) or not isinstance(given, Integral) or given < least:
            raise UserError(f"{at}: {name} is {given!r}, not a whole number from {least}; {_MEND}")
    for name, most in (
        ("clip_sample_range", math.inf),
        ("dynamic_thresholding_ratio", 1.0),
        ("sample_max_value", math.inf),
    ):
        given = config.get(name, 1.0)
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= most or math.isinf(given):
            up_to = "" if math.isinf(most) else f" up to {most:g}"
            raise UserError(f"{at}: {name} is {given!r}, not a number above 0{up_to}; {_MEND}")
