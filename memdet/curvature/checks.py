"""What an operator tests of itself before anyone trusts its numbers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]
# Largest error of <u, J v> = <J^T u, v>, relative to the norms; a finite difference truncates on top of the rounding.
_ADJOINT = {torch.float64: 1e-9, torch.float32: 1e-4, torch.float16: 3e-2, torch.bfloat16: 1e-1}
_DIFFERENCE = 3e-2


def repeatable(f: Product, x: Tensor) -> None:
    """Hold that ``f`` is finite at ``x`` and gives the same twice.

    Raises:
        ValueError: It does not; dropout left on is the usual reason.
    """
    with torch.no_grad():
        once, twice = f(x), f(x)
    finite("the function", once)
    if not torch.equal(once, twice):
        raise ValueError("the function gives another value at the same point: is dropout left on? call model.eval()")


def adjoint(mv: Product, rmv: Product, x: Tensor, backend: str) -> None:
    """Dot test: ``<u, J v> = <J^T u, v>`` for one random pair an item, forward and reverse AD against each other.

    Raises:
        ValueError: They differ beyond the rounding of the dtype.
    """
    generator = torch.Generator("cpu").manual_seed(0)
    u, v = (_normal(x, generator) for _ in range(2))
    forward, backward = mv(v), rmv(u)
    finite("J v", forward)
    finite("J^T u", backward)
    scale = _norm(u) * _norm(forward) + _norm(backward) * _norm(v)
    error = (_dot(u, forward) - _dot(backward, v)).abs() / scale.clamp_min(1e-300)
    allowed = max(_ADJOINT[x.dtype], _DIFFERENCE if backend.startswith("fd") else 0.0)
    if bool((error > allowed).any()):
        raise ValueError(
            f"J v ({backend}) and J^T u disagree at item {int(error.argmax())}: "
            f"relative error {float(error.max()):.1e}, allowed {allowed:.0e} in {x.dtype}. "
            "Do items of a batch interact, or is an operation not differentiable?"
        )


def compiled(
    fast: Callable[[Product, Tensor, Tensor], tuple[Tensor, Tensor]],
    eager: Callable[[Product, Tensor, Tensor], tuple[Tensor, Tensor]],
    f: Product,
    x: Tensor,
) -> None:
    """Hold that a compiled product equals the eager one.

    Raises:
        ValueError: It does not.
    """
    v = _normal(x, torch.Generator("cpu").manual_seed(0))
    expected, found = eager(f, x, v)[1], fast(f, x, v)[1]
    error = float((_norm(found - expected) / _norm(expected).clamp_min(1e-300)).max())
    if not error <= _ADJOINT[x.dtype]:
        raise ValueError(f"the compiled product differs from the eager one by {error:.1e}: do without compile")


def finite(what: str, *tensors: Tensor) -> None:
    """Hold that no entry is infinite or not a number; waits for the device.

    Raises:
        ValueError: Names the first item that has one.
    """
    for tensor in tensors:
        bad = ~torch.isfinite(tensor.flatten(1)).all(dim=1)
        if bool(bad.any()):
            raise ValueError(
                f"{what} is not finite for {int(bad.sum())} of {len(bad)} items, first item {int(bad.int().argmax())}: "
                "use a wider dtype, or another timestep"
            )


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() * b.double()).flatten(1).sum(1)


def _norm(a: Tensor) -> Tensor:
    norm: Tensor = a.double().flatten(1).norm(dim=1)
    return norm


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Drawn on the CPU in float32, whatever the defaults of the process are."""
    return torch.randn(like.shape, generator=generator, dtype=torch.float32, device="cpu").to(like)
