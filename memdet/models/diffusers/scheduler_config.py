"""What a scheduler's configuration asks of a trajectory; a setting that cannot be honoured is refused by its name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from memdet.errors import UserError
from memdet.models.diffusers.quiet import quiet

# Samplers of a process whose noise follows from betas: a network that was trained for one serves them all.
_OF_BETAS = (
    "CogVideoXDDIMScheduler",
    "CogVideoXDPMScheduler",
    "DDIMParallelScheduler",
    "DDIMScheduler",
    "DDPMParallelScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
)
# Their configurations have clip_sample, true unless stated, and their steps do not read it.
_NEVER_CLIP = ("CogVideoXDDIMScheduler", "CogVideoXDPMScheduler")
SPACINGS = ("leading", "trailing", "linspace")
# Noise levels of other samplers, which no spacing of DDIM visits.
_OTHER_LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas", "use_flow_sigmas")
_SWITCHES = ("clip_sample", "thresholding", "set_alpha_to_one", "rescale_betas_zero_snr")
_MOST_TIMESTEPS = 100_000  # each takes room; networks are trained with a thousand
_LARGEST = 1e38  # of float32
_MEND = "mend scheduler/scheduler_config.json"


def checked_config(config: Mapping[str, Any], *, mended: bool = False, where: str = "") -> dict[str, Any]:
    """A configuration that ``DDIMScheduler.from_config`` reads as the pipeline means it.

    A setting that is not stated is that of the scheduler's own class: classes differ in the spacing of timesteps, and
    some never clip. ``StableDiffusionPipeline`` mends two settings of old configurations, and so does this where it is
    told: ``steps_offset`` becomes 1 and ``clip_sample`` false.

    Args:
        config: Of any scheduler with betas.
        mended: Whether the pipeline mends it so.
        where: The model's directory, for messages.

    Raises:
        UserError: Another kind of scheduler, or a setting that is none or that DDIM cannot follow.

    Example:
        >>> checked_config({"_class_name": "PNDMScheduler", "steps_offset": 0}, mended=True)["steps_offset"]
        1
    """
    at = f"{where}: scheduler" if where else "scheduler"
    cls = _class_of(config.get("_class_name"), at)
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
    _check_numbers(config, at)
    own = {name: value.default for name, value in inspect.signature(cls.__init__).parameters.items()}
    unstated = {"clip_sample": False, "thresholding": False, "timestep_spacing": own.get("timestep_spacing", "leading")}
    unstated |= {name: own[name] for name in unstated if name in own}
    if cls.__name__ in _NEVER_CLIP:
        return unstated | dict(config) | {"clip_sample": False}
    return unstated | dict(config) | ({"clip_sample": False, "steps_offset": 1} if mended else {})


def own_alphas(config: Mapping[str, Any], where: str = "") -> Any:
    """Squared alphas of every timestep, as the scheduler's own class computes them from its configuration, ``[T]``.

    Raises:
        UserError: The class cannot be made of it.
    """
    at = f"{where}: scheduler" if where else "scheduler"
    cls = _class_of(config.get("_class_name"), at)
    if not isinstance(config.get("trained_betas"), list | tuple | None):
        raise UserError(f"{at}: trained_betas is no list of a number for each timestep; {_MEND}")
    with quiet():
        try:
            return cls.from_config(dict(config)).alphas_cumprod
        except Exception as error:  # what is wrong with a setting, each class says in its way
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UserError(f"{at}: {cls.__name__} cannot be made of its configuration: {reason}; {_MEND}") from error


def notes_on(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Settings of a pipeline of latents that are read as ``StableDiffusionPipeline`` mends them."""
    notes = []
    if config.get("clip_sample"):
        notes.append(
            "the scheduler's clip_sample is read as false, as StableDiffusionPipeline does: latents are unbounded"
        )
    if config.get("steps_offset", 1) != 1:
        notes.append(
            f"the scheduler's steps_offset, {config['steps_offset']}, is read as 1, as StableDiffusionPipeline does"
        )
    return tuple(notes)


def _class_of(name: Any, at: str) -> Any:
    """The scheduler's class; DDIM where none is named.

    Raises:
        UserError: None of those whose noise is that of betas.
    """
    with quiet():
        import diffusers

        cls = getattr(diffusers, str(name or "DDIMScheduler"), None)
    if cls is None:
        raise UserError(f"{at} is a {name}, which the installed diffusers does not have; save the pipeline with DDIM")
    if name is not None and name not in _OF_BETAS:
        raise UserError(
            f"{at} is a {name}, whose noise does not follow from betas; memdet reads DDIM, DDPM and others that do, "
            "and flows of FlowMatchEulerDiscreteScheduler"
        )
    return cls


def _check_choice(config: Mapping[str, Any], name: str, known: tuple[str, ...], at: str) -> None:
    given = config.get(name, known[0])
    if given not in known:
        raise UserError(f"{at}: {name} is {given!r}, not {', '.join(known[:-1])} or {known[-1]}; {_MEND}")


def _check_numbers(config: Mapping[str, Any], at: str) -> None:
    """Refuse numbers that are none, or out of range."""
    for name, least in (("num_train_timesteps", 1), ("steps_offset", 0)):
        given = config.get(name, least)
        if isinstance(given, bool) or not isinstance(given, Integral) or not least <= int(given) <= _MOST_TIMESTEPS:
            between = f"from {least} to {_MOST_TIMESTEPS:,}"
            raise UserError(f"{at}: {name} is {given!r}, not a whole number {between}; {_MEND}")
    for name, most in (
        ("clip_sample_range", _LARGEST),
        ("dynamic_thresholding_ratio", 1.0),
        ("sample_max_value", _LARGEST),
    ):
        given = config.get(name, 1.0)
        if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= most:
            raise UserError(f"{at}: {name} is {str(given)[:40]}, not a number above 0 up to {most:g}; {_MEND}")
