"""Which backend is fastest on this function, batch and device, and exact enough; which step a difference needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from memdet.curvature.checks import finite
from memdet.curvature.products import (
    Backend,
    Counter,
    JacobianOperator,
    Known,
    default_step,
    difference_of_halves,
)
from memdet.torch_state import answers_in_own_state

Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Calibration:
    """What was measured and chosen.

    Attributes:
        backend: The fastest within the tolerance.
        step: Measured step of central differences, relative to ``norm(x)``.
        seconds: Median time of a product of each backend, of many at one place: the value at x is known by then.
        errors: Largest relative error of an item against forward AD; 0 for forward AD itself.
        tolerance: What was allowed.
    """

    backend: Backend
    step: float
    seconds: dict[Backend, float]
    errors: dict[Backend, float]
    tolerance: float

    def __str__(self) -> str:
        measured = ", ".join(
            f"{name} {1e3 * self.seconds[name]:.2f} ms (error {self.errors[name]:.0e})" for name in self.seconds
        )
        return f"{self.backend}, the fastest product within {self.tolerance:.0e}: {measured}"


@answers_in_own_state
def calibrate(f: Function, x: Tensor, *, tolerance: float = 1e-3, rounds: int = 5) -> Calibration:
    """Time the backends that give ``J v``, in turn, and compare them with forward AD.

    Args:
        f: As for `JacobianOperator`.
        x: The batch as it will be used, ``[batch, ...]``.
        tolerance: Largest relative error that an item may have.
        rounds: Timed rounds; the first one warms up and is not counted.

    Raises:
        ValueError: A product is not finite.
    """
    signs = torch.randint(0, 2, x.shape, generator=torch.Generator("cpu").manual_seed(0), device="cpu")
    v = signs.to(x) * 2 - 1
    step = measured_step(f, x, v)
    names: tuple[Backend, ...] = ("jvp", "fd", "fd-one-sided")
    operators = {name: JacobianOperator(f, x, name, known=_steps(name, step), check=False) for name in names}
    reference = operators["jvp"].mv(v)
    finite("J v", reference)
    size = _norm(reference).clamp_min(1e-300)
    errors: dict[Backend, float] = {}
    times: dict[Backend, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for name, operator in operators.items():
            start = _now(x)
            product = operator.mv(v)
            if turn:
                times[name].append(_now(x) - start)
            else:
                errors[name] = float((_norm(product - reference) / size).max())
    seconds: dict[Backend, float] = {name: median(values) for name, values in times.items()}
    good = [name for name in names if errors[name] <= tolerance]
    return Calibration(min(good, key=lambda name: seconds[name]), step, seconds, errors, tolerance)


@answers_in_own_state
def fastest_operator(
    f: Function,
    x: Tensor,
    *,
    pair: bool = False,
    tolerance: float = 1e-3,
    check: bool = True,
    count: Counter | None = None,
) -> tuple[JacobianOperator, Calibration]:
    """The operator whose ``J v`` is fastest within ``tolerance`` on this very function, batch and device.

    Args:
        f, x, pair, check, count: As for `JacobianOperator`; calibration is not counted.
        tolerance: Largest relative error that an item may have.

    Returns:
        The operator, and what was measured; central differences take the measured step.

    Raises:
        ValueError: A product is not finite, or the operator fails its check.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
        >>> operator, calibration = fastest_operator(lambda z: z**2, x)
        >>> operator.backend == calibration.backend, operator.mv(torch.ones_like(x)).round(decimals=3)
        (True, tensor([[2., 4.]], dtype=torch.float64))
    """
    found = calibrate(difference_of_halves(f) if pair else f, x, tolerance=tolerance)
    known = _steps(found.backend, found.step)
    return JacobianOperator(f, x, found.backend, pair=pair, known=known, check=check, count=count), found


@answers_in_own_state
def measured_step(f: Function, x: Tensor, v: Tensor) -> float:
    """Step of central differences that balances the measured noise of ``f`` against its third derivative.

    The noise is read off difference tables on tiny steps (More and Wild 2011), the derivative off two wide differences.

    Args:
        f: Maps ``[batch, ...]`` to the same shape.
        x: Where, ``[batch, ...]``.
        v: Direction of each item.

    Returns:
        The median over items of ``h norm(v) / norm(x)``, between 1/30 of the dtype's usual step and 0.1. 13 forwards.
    """
    usual = default_step(x.dtype, "fd")
    unit = _per_item(_norm(x) / _norm(v).clamp_min(1e-300), x)
    with torch.no_grad():
        tiny = 16 * torch.finfo(x.dtype).eps
        table = torch.stack([f(x + (i - 3) * tiny * unit * v).double() for i in range(7)])
        factor = 1.0
        noises = []
        for order in range(1, 5):
            table = table.diff(dim=0)
            factor *= order / (2 * (2 * order - 1))  # (k!)^2 / (2k)!
            noises.append((factor * table.square().mean(dim=0)).flatten(1).sum(dim=1).sqrt())
        noise = noises[-1]

        def central(h: float) -> Tensor:
            return (f(x + h * unit * v) - f(x - h * unit * v)).double() / (2 * h)

        slope = _norm(central(8 * usual)).clamp_min(1e-300)
        wide = 4 * float(((noise / slope) ** (1 / 3)).median().clamp(usual / 30, 0.1))
        first, second = central(wide), central(2 * wide)
    third = _norm(second - first) / (3 * wide**2)
    h = (noise / (8**0.5 * third.clamp_min(1e-300))) ** (1 / 3)
    return float(h.clamp(usual / 30, 0.1).median())


def _steps(backend: Backend, measured: float) -> Known:
    """The measured step where it holds: it is that of central differences."""
    return Known(step=measured if backend == "fd" else None)


def _norm(a: Tensor) -> Tensor:
    norm: Tensor = a.double().flatten(1).norm(dim=1)
    return norm


def _per_item(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype).view(-1, *[1] * (like.ndim - 1))


def _now(x: Tensor) -> float:
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
    return time.perf_counter()
