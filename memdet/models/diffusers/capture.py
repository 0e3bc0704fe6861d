"""What a pipeline of diffusers tells its network, written down from a call of the pipeline itself."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from memdet.errors import UserError
from memdet.models.condition import Condition
from memdet.models.diffusers.families.base import Family
from memdet.models.diffusers.quiet import quiet

_SAME = 0.05  # of the other branch's differences, as what rounding makes of two equal rows
# Two more conditions that differ, by which the null branch is told.
_PROMPTS, _CLASSES = ("a", "0"), ("0", "1")
STEPS = 2  # of the call that is written down: two times say how the network's time follows from the scheduler's


@dataclass(frozen=True)
class Call:
    """One call of the network: its arguments by name, those in dictionaries as ``outer.inner``."""

    latent: Tensor
    time: Tensor
    arguments: Mapping[str, Any]


class Recorder:
    """Stands in for a network's forward: writes its arguments down and answers zeros.

    Args:
        network: The denoiser.
        latent: Name of the argument that is the noisy latent.
    """

    def __init__(self, network: Any, latent: str) -> None:
        self._signature = inspect.signature(network.forward)
        self._latent = latent
        config = network.config
        self._widens = (config.get("out_channels") or 0) == 2 * (config.get("in_channels") or 0) > 0
        self.calls: list[Call] = []

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Zeros, of twice the channels where the network predicts a variance too."""
        from diffusers.models.modeling_outputs import Transformer2DModelOutput

        bound = _flat(self._signature.bind(*arguments, **named).arguments)
        latent, time = bound.pop(self._latent), bound.pop("timestep")
        self.calls.append(Call(latent.detach().clone(), torch.as_tensor(time).detach().clone(), bound))
        return Transformer2DModelOutput(sample=torch.cat([latent, latent], dim=1) * 0 if self._widens else latent * 0)


@dataclass(frozen=True)
class Capture:
    """What a pipeline told its network.

    Attributes:
        latent_shape: Of one noisy latent, as the network takes it.
        cond: Of the conditions, a row each.
        null: Of the null branch, one row; None where the pipeline has none.
        constants: Arguments that are the same for every condition.
        time: ``a + b t`` is the network's time at timestep t of the scheduler.
        time_dtype: Of the network's time.
    """

    latent_shape: tuple[int, ...]
    cond: Condition
    null: Condition | None
    constants: Mapping[str, Any]
    time: tuple[float, float]
    time_dtype: torch.dtype


def capture(pipeline: Any, network: Any, family: Family, conditions: Sequence[str], name: str) -> Capture:
    """Call a pipeline for some conditions, and write down what it tells its network.

    The null branch is the one that is told the same for different conditions, so an unlikely condition is asked for
    beside the others. Nothing is computed but what encodes the conditions.

    Args:
        pipeline: Whose call it is.
        network: Its denoiser.
        family: How it is called.
        conditions: As users write them.
        name: Of the model, for messages.

    Raises:
        UserError: The call fails, or the network is not told what memdet can follow.
    """
    asked = [*conditions, *(_PROMPTS if family.takes_prompts else _CLASSES)]
    told = family.told(pipeline, asked) | {"num_inference_steps": STEPS}
    recorder = record(pipeline, network, family.latent, told, name)
    times = _distinct([float(call.time.flatten()[0]) for call in recorder.calls])
    if len(times) != STEPS:
        raise UserError(f"{name}: its pipeline calls the network at {len(times)} times in {STEPS} steps")
    first = [call for call in recorder.calls if float(call.time.flatten()[0]) == times[0]]
    branches = _branches(first, len(asked), family.without_rows)
    cond, null = _told_apart(branches, len(conditions), len(asked), family.null_first, name)
    return Capture(
        tuple(recorder.calls[0].latent.shape[1:]),
        cond,
        null,
        {key: value for key, value in recorder.calls[0].arguments.items() if key not in cond.tensors},
        _affine(pipeline.scheduler.timesteps.tolist()[:STEPS], times),
        recorder.calls[0].time.dtype,
    )


def record(pipeline: Any, network: Any, latent: str, told: dict[str, Any], name: str) -> Recorder:
    """Call a pipeline with a network that only writes down."""
    recorder = Recorder(network, latent)
    own = network.__dict__.get("forward")
    network.forward = recorder
    try:
        with quiet(), torch.no_grad():
            pipeline.set_progress_bar_config(disable=True)
            pipeline(**told, output_type="latent", generator=torch.Generator().manual_seed(0))
    except Exception as error:  # whatever a pipeline raises
        raise UserError(f"{name}: its own pipeline fails ({type(error).__name__}: {error})".splitlines()[0]) from error
    finally:
        del network.forward
        if own is not None:
            network.forward = own
    if not recorder.calls:
        raise UserError(f"{name}: its pipeline never calls its network")
    return recorder


def nested(named: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, ``outer.inner`` back in dictionaries.

    Example:
        >>> nested({"a": 1, "b.c": 2, "b.d": 3})
        {'a': 1, 'b': {'c': 2, 'd': 3}}
    """
    found: dict[str, Any] = {}
    for name, value in named.items():
        outer, dot, inner = name.partition(".")
        if dot:
            found.setdefault(outer, {})[inner] = value
        else:
            found[name] = value
    return found


def _flat(arguments: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in arguments.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": part for inner, part in value.items()}
        elif name in {"kwargs", "args"}:
            continue
        else:
            flat[name] = value
    return {key: value.detach().clone() if isinstance(value, Tensor) else value for key, value in flat.items()}


def _branches(calls: Sequence[Call], rows: int, without_rows: Sequence[str]) -> list[dict[str, Tensor]]:
    """The rows of each branch: halves of one call, or calls of their own; tensors without rows are left out.

    A tensor without rows may be as long as the batch by chance, so a family names those that it has.
    """
    found = []
    for call in calls:
        count = len(call.latent) // rows
        tensors = {
            name: value
            for name, value in call.arguments.items()
            if isinstance(value, Tensor)
            and value.ndim > 0
            and len(value) == len(call.latent)
            and name not in without_rows
        }
        found += [
            {name: value[start * rows : (start + 1) * rows] for name, value in tensors.items()}
            for start in range(count)
        ]
    return found


def _told_apart(
    branches: Sequence[dict[str, Tensor]], wanted: int, rows: int, null_first: bool | None, name: str
) -> tuple[Condition, Condition | None]:
    """The conditional branch and one row of the null branch, which is told the same whatever the condition.

    The same but for rounding: a text encoder may give two rows of one text with other last digits. Where the family
    says which branch comes first, it must be that one.
    """
    spreads = [_spread(one) for one in branches]
    null = min(range(len(branches)), key=spreads.__getitem__) if len(branches) == 2 else None
    if len(branches) > 2 or (null is not None and not spreads[null] <= _SAME * max(spreads) > 0):
        raise UserError(f"{name}: memdet cannot tell the branches of its pipeline apart, {len(branches)} of them")
    if null is not None and null_first not in (None, null == 0):
        first = "null branch" if null == 0 else "condition"
        raise UserError(
            f"{name}: its pipeline evaluates the {first} first, and its family the other way round; memdet would take "
            "one for the other"
        )
    cond = branches[0 if null is None else 1 - null]
    floats = [key for key, value in cond.items() if value.is_floating_point()]
    by_text = next((key for key in ("encoder_hidden_states", *floats) if key in cond), None)
    return (
        Condition(cond, rows, by_text).rows(slice(wanted)),
        None if null is None else Condition(branches[null], rows, by_text).rows(slice(rows - 1, None)),
    )


def _spread(branch: Mapping[str, Tensor]) -> float:
    """How much the last two rows, of two conditions that differ, differ beside what is there."""
    parts = [value[-2:].double() for value in branch.values()]
    return max(
        (float((part[0] - part[1]).abs().max() / part.abs().max().clamp_min(1e-30)) for part in parts), default=0
    )


def _affine(scheduler: Sequence[float], network: Sequence[float]) -> tuple[float, float]:
    """``a`` and ``b`` of the network's time ``a + b t``; rounded where the numbers are those of simple fractions."""
    slope = (network[1] - network[0]) / (scheduler[1] - scheduler[0])
    start = network[0] - slope * scheduler[0]
    return round(start, 6), float(f"{slope:.6g}")


def _distinct(values: Sequence[float]) -> list[float]:
    return list(dict.fromkeys(values))
