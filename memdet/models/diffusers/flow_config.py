"""Schedulers whose noise is that of a flow, and what of their configuration memdet follows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from memdet.errors import UserError
from memdet.models.flow_schedule import LENGTH, Levels

_EULER = "FlowMatchEulerDiscreteScheduler"
# Samplers of betas that are told a flow by use_flow_sigmas, and what makes their steps of first order and
# deterministic, as memdet's are. The noise levels are the same in every order.
_FIRST_ORDER: dict[str, dict[str, Any]] = {
    "DPMSolverMultistepScheduler": {"solver_order": 1, "algorithm_type": "dpmsolver++"},
    "DPMSolverSinglestepScheduler": {"solver_order": 1, "algorithm_type": "dpmsolver++"},
    "UniPCMultistepScheduler": {"solver_order": 1, "solver_type": "bh2", "disable_corrector": [*range(LENGTH)]},
}
# Spacings of such a sampler that mix the levels of betas with those of a flow.
_OTHER_LEVELS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
_TOLERANCE = 1.001  # whole numbers, cut from a level, are less than one below it; float32 rounds the rest


def is_flow(config: Mapping[str, Any], where: str) -> bool:
    """Whether a scheduler's noise is that of a flow.

    Args:
        config: Of the scheduler.
        where: The model's directory, for messages.

    Raises:
        UserError: It is, with a setting that memdet cannot follow.

    Example:
        >>> is_flow({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "")
        True
    """
    name = str(config.get("_class_name"))
    if name != _EULER and not (name in _FIRST_ORDER and config.get("use_flow_sigmas")):
        return False
    if name != _EULER:
        _check_told(config, where)
    if (length := config.get("num_train_timesteps", LENGTH)) != LENGTH:
        raise UserError(f"{where}: scheduler has num_train_timesteps {length}; memdet reads flows of {LENGTH:,}")
    if config.get("invert_sigmas"):
        raise UserError(f"{where}: scheduler has invert_sigmas, which memdet cannot follow")
    return True


def of_first_order(scheduler: Any) -> Any | None:
    """A deterministic sampler of first order at the noise levels of a scheduler that is told a flow; None of others."""
    own = type(scheduler)
    if own.__name__ not in _FIRST_ORDER or not scheduler.config.get("use_flow_sigmas"):
        return None
    return own.from_config(scheduler.config, **_FIRST_ORDER[own.__name__])


def levels_of(scheduler: Any, where: str) -> Levels:
    """Times and noise levels that a flow's scheduler was set to.

    Some schedulers cut the times that they tell the network to whole numbers, and not their noise levels. Such a time
    is given as the level has it, and cut again for the network.

    Raises:
        UserError: Times are not those of the levels, so that they are no flow's.
    """
    times, sigmas = scheduler.timesteps.tolist(), scheduler.sigmas.tolist()
    if any(not abs(LENGTH * sigma - t) < _TOLERANCE for t, sigma in zip(times, sigmas, strict=False)):
        raise UserError(f"{where}: the times of its {type(scheduler).__name__} are not those of its noise levels")
    if scheduler.timesteps.is_floating_point():
        return times, sigmas
    # Rounding of a level, in float32, must not lead to another whole number.
    return [min(max(LENGTH * sigma, t), t + 0.9999) for t, sigma in zip(times, sigmas, strict=False)], sigmas


def _check_told(config: Mapping[str, Any], where: str) -> None:
    """Refuse a sampler of betas that is told a flow in a way that memdet cannot follow."""
    if (told := config.get("prediction_type")) != "flow_prediction":
        raise UserError(f"{where}: scheduler has use_flow_sigmas and predicts {told!r}, not 'flow_prediction'")
    for name in _OTHER_LEVELS:
        if config.get(name):
            raise UserError(f"{where}: scheduler has {name} beside use_flow_sigmas; set one of them to false")
    for name in ("thresholding", "solver_p"):
        if config.get(name):
            raise UserError(f"{where}: scheduler has {name}, which memdet cannot follow in a flow")
    shift = config.get("flow_shift", 1.0)
    if isinstance(shift, bool) or not isinstance(shift, int | float) or not 0 < shift < math.inf:
        raise UserError(f"{where}: scheduler has flow_shift {shift!r}, not a number above 0")
