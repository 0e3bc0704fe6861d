"""A network of a user's own as a score model; :meth:`~memdet.models.ScoreModel.from_callable` says what is what."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from memdet.errors import NotApplicableError, UserError
from memdet.models.arguments import check_null, check_prediction, check_schedule, checked_callable
from memdet.models.base import Encoded, ScoreModel
from memdet.models.code_digest import digest_of_code
from memdet.models.condition import Condition
from memdet.models.prediction_type import PredictionType
from memdet.models.schedule import NoiseSchedule


@dataclass(frozen=True)
class Callables:
    """What a user gave to :meth:`~memdet.models.ScoreModel.from_callable`."""

    fn: Callable[..., Tensor]
    embed: Callable[[list[str]], Encoded] | None
    null: Encoded | None
    decode: Callable[[Tensor], Tensor] | None

    def __post_init__(self) -> None:
        checked_callable(self.fn, "fn")
        for name in ("embed", "decode"):
            if getattr(self, name) is not None:
                checked_callable(getattr(self, name), name)
        check_null(self.null, conditional=self.embed is not None)


class CallableModel(ScoreModel):
    """A network of a user's own.

    Args:
        name: Shown in tables; that of the function if not given.
        given: The network, ``embed``, ``null`` and ``decode``, as :meth:`~memdet.models.ScoreModel.from_callable` has
            them.
        shape: Of one noisy sample.
        schedule: Noise of every timestep.
        prediction: What the network returns.
        device, dtype: Of its inputs.

    Raises:
        UserError: One of them is not what it should be.
    """

    def __init__(
        self,
        name: str | None,
        given: tuple[Any, Any, Any, Any],
        shape: tuple[int, ...],
        schedule: NoiseSchedule,
        prediction: PredictionType,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        parts = Callables(*given)
        check_schedule(schedule)
        check_prediction(prediction)
        if not isinstance(name, str | None):
            raise UserError(f"`name` is {name!r}; write text, or leave it out")
        self.name = name or _name_of(parts.fn)
        self.latent_shape, self.schedule, self.prediction_type = shape, schedule, prediction
        self.device, self.dtype, self._parts = device, dtype, parts
        self._form: type = type(parts.null)

    @property
    def is_conditional(self) -> bool:
        """Whether the network takes conditions."""
        return self._parts.embed is not None

    def embed(self, conditions: Sequence[str]) -> Condition:
        """What the user's function gives, a row a condition; an unconditional network is told nothing.

        Raises:
            UserError: It gives no tensors, or another number of rows.
        """
        if self._parts.embed is None:
            return Condition.nothing(len(conditions))
        with torch.no_grad():
            encoded = self._parts.embed(list(conditions))
        self._form = type(encoded)
        return self._placed(encoded, "`embed`", len(conditions))

    def embed_null(self) -> Condition:
        """The user's null condition, one row.

        Raises:
            NotApplicableError: There is none.
        """
        if self._parts.embed is None:
            raise NotApplicableError(f"{self.name} is unconditional: it has no null branch and no conditions")
        if self._parts.null is None:
            raise NotApplicableError(f"{self.name} has no null branch")
        return self._placed(self._parts.null, "`null`", 1)

    def predict(self, x: Tensor, t: int, condition: Condition) -> Tensor:
        """One call of the user's function.

        Raises:
            UserError: It returns no tensor, or another shape than that of ``x``.
        """
        told = condition.expand(len(x))
        if not told.tensors:
            output = self._parts.fn(x, t)
        elif issubclass(self._form, Condition):
            output = self._parts.fn(x, t, told)
        elif issubclass(self._form, Mapping):
            output = self._parts.fn(x, t, **told.tensors)
        else:
            output = self._parts.fn(x, t, told.tensor)
        _check_tensor(output, self.name)
        if output.shape != x.shape:
            raise UserError(f"{self.name} gives {list(output.shape)} for an input of {list(x.shape)}")
        return output

    def decode(self, x0: Tensor) -> Tensor:
        """Images of clean samples by the user's function, ``[batch, channels, height, width]`` in [0, 1]."""
        if self._parts.decode is None:
            return super().decode(x0)
        with torch.no_grad():
            return self._parts.decode(x0)

    def fingerprint(self) -> str:
        """SHA-256 of the user's code and weights as they are now, and of the schedule."""
        parts, schedule = self._parts, self.schedule
        noise = [schedule.alphas, schedule.sigmas, schedule.final_alpha, schedule.final_sigma, schedule.offset]
        what = [self.latent_shape, self.prediction_type, str(self.dtype), noise, parts.null]
        return digest_of_code(parts.fn, parts.embed, parts.decode, what)

    def _placed(self, encoded: Encoded, where: str, rows: int) -> Condition:
        where = f"{self.name}: {where}"
        if isinstance(encoded, Condition):
            return encoded.to(self.device, self.dtype)
        if not isinstance(encoded, Mapping):
            _check_tensor(encoded, where)
        named = encoded if isinstance(encoded, Mapping) else {"condition": encoded}
        for name, tensor in named.items():
            _check_tensor(tensor, where if tensor is encoded else f"{where}, {name!r},")
            if tensor.ndim == 0 or len(tensor) != rows:
                raise UserError(f"{where} gave {list(tensor.shape)} for {rows} condition{'s'[: rows != 1]}")
        floats = [name for name, tensor in named.items() if tensor.is_floating_point()]
        condition = Condition(
            {name: tensor.detach() for name, tensor in named.items()}, rows, floats[0] if len(floats) == 1 else None
        )
        return condition.to(self.device, self.dtype)


def _check_tensor(output: object, what: str) -> None:
    if not isinstance(output, Tensor):
        raise UserError(f"{what} gave {type(output).__name__}; return a tensor")


def _name_of(fn: Callable[..., Tensor]) -> str:
    while isinstance(fn, partial):
        fn = fn.func
    return str(getattr(fn, "__name__", type(fn).__name__))
