"""What a caller may give for the parts of a model; what is none is refused in a line that says how to mend it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memdet.errors import UserError
from memdet.models.condition import Condition
from memdet.models.device import device_named
from memdet.models.prediction_type import PREDICTION_TYPES
from memdet.models.schedule import NoiseSchedule


def checked_shape(shape: Any) -> tuple[int, ...]:
    """The shape of one sample.

    Raises:
        UserError: Not a sequence of whole numbers from 1.
    """
    sizes = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str | bytes) else ()
    whole = all(isinstance(n, Integral) and not isinstance(n, bool) and int(n) >= 1 for n in sizes)
    if not sizes or not whole:
        raise UserError(f"`shape` is {shape!r}; write the sizes of one sample as whole numbers from 1, (3, 8, 8) say")
    return tuple(int(n) for n in sizes)


def checked_device(device: Any) -> torch.device:
    """A device that works here; ``auto`` takes the fastest.

    Raises:
        UserError: It does not work here, or is none.
    """
    if not isinstance(device, str | torch.device):
        raise UserError(f"`device` is {device!r}; write auto, cpu, cuda or mps", parameters=("device",))
    return torch.device(device_named(str(device)))


def checked_dtype(dtype: Any) -> torch.dtype:
    """A dtype of decimals.

    Raises:
        UserError: Its name instead, or no such dtype.
    """
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise UserError(f"`dtype` is {dtype!r}; write a dtype of torch that holds decimals, torch.float32")
    return dtype


def checked_callable(given: Any, name: str) -> Callable[..., Tensor]:
    """Something that can be called.

    Raises:
        UserError: It cannot.
    """
    if not callable(given):
        raise UserError(f"`{name}` is {_shown(given)}; give a function or a module that can be called")
    found: Callable[..., Tensor] = given
    return found


def check_schedule(schedule: Any) -> None:
    """Refuse what is no noise schedule.

    Raises:
        UserError: It is none.
    """
    if not isinstance(schedule, NoiseSchedule):
        raise UserError(f"`schedule` is {_shown(schedule)}; give a NoiseSchedule, NoiseSchedule.vp(alphas_cumprod)")


def check_prediction(prediction: Any) -> None:
    """Refuse an unknown prediction type.

    Raises:
        UserError: It is none of those known.
    """
    if prediction not in PREDICTION_TYPES:
        raise UserError(f"unknown prediction type {prediction!r}; known: {', '.join(PREDICTION_TYPES)}")


def check_null(null: Any, *, conditional: bool) -> None:
    """Refuse what is no encoded null condition; None is none at all.

    Args:
        null: As given.
        conditional: Whether the network takes conditions.

    Raises:
        UserError: Not a tensor of one row, or one of a network that takes no conditions.
    """
    if null is None:
        return
    named = null.tensors if isinstance(null, Condition) else null
    tensors = list(named.values()) if isinstance(named, Mapping) else [named]
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise UserError(f"`null` is {_shown(null)}; give one encoded condition as a tensor [1, ...]")
    if not conditional:
        raise UserError("a null condition without `embed`: an unconditional network has one branch; give both or none")
    for tensor in tensors:
        if tensor.ndim == 0 or len(tensor) != 1:
            raise UserError(
                f"`null` is one encoded condition, [1, ...], and not {list(tensor.shape)}; add the first dimension"
            )


def checked_name(reference: Any) -> str:
    """What a user writes for a model, as text.

    Raises:
        UserError: Not text or a path, or nothing.
    """
    if not isinstance(reference, str | os.PathLike) or not str(reference).strip():
        raise UserError(
            f"a model is named by text or a path, not {_shown(reference)}; `memdet list models` shows names"
        )
    return str(reference) if isinstance(reference, str) else str(Path(reference))


def _shown(value: Any) -> str:
    """A short value as it is, of another one the type."""
    return repr(value) if value is None or isinstance(value, str | int | float) else f"of type {type(value).__name__}"
