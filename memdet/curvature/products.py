"""Jacobian products of a batched function, one interface over three backends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, cast, get_args

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Function = Callable[[Tensor], Tensor]
Backend = Literal["jvp", "vjp", "fd", "fd-one-sided"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

# Steps relative to the input: h norm(v) = step * norm(x). In float32 they balance truncation against rounding.
CENTRAL_STEP = 4e-3
ONE_SIDED_STEP = 1e-3


class Counter(Protocol):
    """Told of every network evaluation that a product makes, per item of the batch."""

    def __call__(self, *, forwards: int = 0, jvps: int = 0, vjps: int = 0) -> None:
        """Add to the cost."""


class JacobianOperator:
    """Jacobian of ``f`` at each item of a batch.

    Items must not interact: row ``i`` of the output depends on row ``i`` of the input alone (evaluation mode, no batch
    norm). The Jacobian of a trained score is not symmetric, so ``mv`` and ``rmv`` differ.

    Args:
        f: Maps ``[batch, ...]`` to the same shape.
        x: Where the Jacobian is taken, ``[batch, ...]``.
        backend: ``jvp`` (forward AD; exact; attention falls back to the plain kernel around the call), ``vjp``
            (reverse AD; gives ``J^T v`` alone), ``fd`` (central difference) or ``fd-one-sided`` (reuses ``value``).
        value: ``f(x)`` if it is known already; else computed when first needed.
        count: Told what each product costs.
    """

    def __init__(
        self,
        f: Function,
        x: Tensor,
        backend: Backend = "jvp",
        value: Tensor | None = None,
        count: Counter | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
        self._f, self.x, self.backend, self._value = f, x, backend, value
        self._count: Counter = count or _uncounted

    @property
    def value(self) -> Tensor:
        """``f(x)``."""
        if self._value is None:
            with torch.no_grad():
                self._value = self._f(self.x)
            self._count(forwards=1)
        return self._value

    def mv(self, v: Tensor) -> Tensor:
        """``J v`` for each item, ``[batch, ...]``.

        Raises:
            ValueError: The backend is ``vjp``, which gives transposed products only.
        """
        if self.backend == "vjp":
            raise ValueError("the vjp backend gives J^T v (rmv); J v is another product where J is not symmetric")
        if self.backend == "jvp":
            # inference_mode would disable forward AD; no_grad does not. The fused attention kernels have no forward
            # derivative, on CPU and CUDA alike.
            with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                value, product = cast(
                    "tuple[Tensor, Tensor]", torch.func.jvp(self._f, (self.x.contiguous(),), (v.contiguous(),))
                )
            self._value = value
            self._count(jvps=1)
            return product
        h = _step(self.x, v, CENTRAL_STEP if self.backend == "fd" else ONE_SIDED_STEP)
        with torch.no_grad():
            if self.backend == "fd":
                difference = self._f(self.x + h * v) - self._f(self.x - h * v)
                self._count(forwards=2)
                return difference / (2 * h)
            value = self.value
            moved = self._f(self.x + h * v)
            self._count(forwards=1)
            return (moved - value) / h

    def rmv(self, v: Tensor) -> Tensor:
        """``J^T v`` for each item by reverse AD, whatever the backend of :meth:`mv`."""
        x = self.x.detach().requires_grad_(True)
        with torch.enable_grad():
            (product,) = torch.autograd.grad(self._f(x), x, v)
        self._count(vjps=1)
        return product


def _step(x: Tensor, v: Tensor, relative: float) -> Tensor:
    """Step of each item, shaped to broadcast against ``x``; 1 where ``v`` vanishes."""
    norm = v.flatten(1).norm(dim=1)
    h = torch.where(norm > 0, relative * x.flatten(1).norm(dim=1) / norm.clamp_min(1e-30), 1.0)
    return h.clamp_min(1e-12).view(-1, *[1] * (x.ndim - 1))


def _uncounted(*, forwards: int = 0, jvps: int = 0, vjps: int = 0) -> None:
    """Count nothing."""
