"""Jacobian products of a batched function, one interface over all backends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, cast, get_args

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from memdet.curvature import checks
from memdet.torch_state import answers_in_own_state

Function = Callable[[Tensor], Tensor]
Product = Callable[[Tensor], Tensor]
Backend = Literal["jvp", "vjp", "fd", "fd-one-sided", "closed-form"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)


class Counter(Protocol):
    """Told of every network evaluation that a product makes, per item of the batch."""

    def __call__(self, *, forwards: int = 0, jvps: int = 0, vjps: int = 0) -> None:
        """Add to the cost."""


@dataclass(frozen=True)
class Known:
    """What a caller knows already of the function at ``x``, so that an operator need not find it.

    Attributes:
        value: ``f(x)`` (the difference, with ``pair``); else computed when first needed.
        graph: ``x`` as a leaf and ``f`` of it, with the graph between them; for :meth:`JacobianOperator.rmv`.
        exact: ``v -> J v``, for the backend ``closed-form``.
        step: Of finite differences, as ``h norm(v) / norm(x)``; None takes what suits the dtype.
    """

    value: Tensor | None = None
    graph: tuple[Tensor, Tensor] | None = None
    exact: Product | None = None
    step: float | None = None


NOTHING_KNOWN = Known()


@answers_in_own_state
class JacobianOperator:
    """Jacobian of ``f`` at each item of a batch.

    Items must not interact: row ``i`` of the output depends on row ``i`` of the input alone (evaluation mode, no batch
    norm). The Jacobian of a trained score is not symmetric, so ``mv`` and ``rmv`` differ.

    Args:
        f: Maps ``[batch, ...]`` to the same shape; with ``pair`` it is called with ``[2 * batch, ...]``.
        x: Where the Jacobian is taken, ``[batch, ...]``.
        backend: Of :meth:`mv`. ``jvp``: forward AD, exact; attention takes the plain kernel around the call.
            ``fd``: central difference, two forwards. ``fd-one-sided``: one forward beside the value at x.
            ``closed-form``: calls what ``known`` gives as exact. ``vjp``: :meth:`mv` is refused and :meth:`rmv` alone
            is used, so that nobody takes ``J^T v`` for ``J v`` unawares. :func:`memdet.curvature.fastest_operator`
            measures which of the first three to take.
        pair: The Jacobian of the difference of two branches, computed in one batch: ``f`` is given x twice over, and
            the second half of its output is subtracted from the first.
        known: Of the function at ``x``.
        check: Test at construction that ``f`` is finite and not random, and that ``u . J v = J^T u . v``.
        compile: Run forward AD through ``torch.compile``; checked against the eager product at construction.
        count: Told what each product costs; checks are not counted.

    Raises:
        ValueError: Unknown backend, a random or non-finite ``f``, or a failed check.

    Example:
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> JacobianOperator(lambda z: z**2, x).mv(torch.ones_like(x))
        tensor([[2., 4.]])
    """

    def __init__(
        self,
        f: Function,
        x: Tensor,
        backend: Backend = "jvp",
        *,
        pair: bool = False,
        known: Known = NOTHING_KNOWN,
        check: bool = True,
        compile: bool = False,
        count: Counter | None = None,
    ) -> None:
        if backend not in BACKENDS:
            raise ValueError(f"unknown backend {backend!r}; known: {', '.join(BACKENDS)}")
        if backend == "closed-form" and known.exact is None:
            raise ValueError("the backend closed-form needs the exact product")
        self._f = difference_of_halves(f) if pair else f
        self._branches = 2 if pair else 1
        self.x, self.step, self._exact = x, known.step, known.exact
        self._value, self._graph = known.value, known.graph
        self.count: Counter = _uncounted
        self._forward_ad = torch.compile(_forward_ad) if compile else _forward_ad
        self.backend: Backend = backend
        if check:
            checks.repeatable(self._f, x)
            if compile:
                checks.compiled(self._forward_ad, _forward_ad, self._f, x)
            if backend != "vjp":
                checks.adjoint(self.mv, self.rmv, x, backend)
        self._graph, self._value = known.graph, known.value  # what the checks left behind was not paid for
        self.count = count or _uncounted

    @property
    def value(self) -> Tensor:
        """``f(x)``."""
        if self._value is None:
            with torch.no_grad():
                self._value = self._f(self.x)
            self.count(forwards=self._branches)
        return self._value

    def mv(self, v: Tensor) -> Tensor:
        """``J v`` for each item, ``[batch, ...]``.

        Raises:
            ValueError: The backend is ``vjp``, which gives transposed products only.
        """
        if self.backend == "vjp":
            raise ValueError("the vjp backend gives J^T v (rmv); J v is another product where J is not symmetric")
        if self.backend == "closed-form":
            assert self._exact is not None
            self.count(jvps=self._branches)
            return self._exact(v)
        if self.backend == "jvp":
            self._value, product = self._forward_ad(self._f, self.x.contiguous(), v.contiguous())
            self.count(jvps=self._branches)
            return product
        h = _step(self.x, v, self.step or default_step(self.x.dtype, self.backend))
        with torch.no_grad():
            if self.backend == "fd":
                difference = self._f(self.x + h * v) - self._f(self.x - h * v)
                self.count(forwards=2 * self._branches)
                return difference / (2 * h)
            value = self.value
            moved = self._f(self.x + h * v)
            self.count(forwards=self._branches)
            return (moved - value) / h

    def rmv(self, v: Tensor) -> Tensor:
        """``J^T v`` for each item by reverse AD, whatever the backend of :meth:`mv`.

        The graph of ``f(x)`` is built once and kept with the operator; the memory it takes is freed with it.
        """
        if self._graph is None:
            x = self.x.detach().requires_grad_(True)
            with torch.enable_grad():
                self._graph = (x, self._f(x))
            if self._value is None:
                self._value = self._graph[1].detach()
                self.count(forwards=self._branches)
        x, y = self._graph
        (product,) = torch.autograd.grad(y, x, v, retain_graph=True)
        self.count(vjps=self._branches)
        return product


def default_step(dtype: torch.dtype, backend: Backend) -> float:
    """Step of a finite difference relative to ``norm(x)`` that balances truncation against rounding.

    Example:
        >>> round(default_step(torch.float32, "fd"), 4), round(default_step(torch.float32, "fd-one-sided"), 4)
        (0.0039, 0.001)
    """
    epsilon = torch.finfo(dtype).eps
    return float(0.8 * epsilon ** (1 / 3) if backend == "fd" else 3 * epsilon**0.5)


def resolves_differences(dtype: torch.dtype) -> bool:
    """Whether a finite difference is worth anything: not in half precision, where rounding drowns it.

    In bfloat16 the best step leaves errors as large as the product, and items rank anew.

    Example:
        >>> resolves_differences(torch.float32), resolves_differences(torch.bfloat16)
        (True, False)
    """
    return torch.finfo(dtype).bits >= 32


def _forward_ad(f: Function, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    # inference_mode would disable forward AD; no_grad does not. The fused attention kernels have no forward
    # derivative, on CPU and CUDA alike.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        return cast("tuple[Tensor, Tensor]", torch.func.jvp(f, (x,), (v,)))


def difference_of_halves(f: Function) -> Function:
    """The function ``x -> a - b``, with ``a`` and ``b`` the halves of ``f([x, x])``."""

    def difference(x: Tensor) -> Tensor:
        first, second = f(torch.cat([x, x])).chunk(2)
        return first - second

    return difference


def _step(x: Tensor, v: Tensor, relative: float) -> Tensor:
    """Step of each item, shaped to broadcast against ``x``; 1 where ``v`` vanishes."""
    norm = v.flatten(1).norm(dim=1)
    h = torch.where(norm > 0, relative * x.flatten(1).norm(dim=1) / norm.clamp_min(1e-30), 1.0)
    return h.clamp_min(1e-12).view(-1, *[1] * (x.ndim - 1))


def _uncounted(*, forwards: int = 0, jvps: int = 0, vjps: int = 0) -> None:
    """Count nothing."""
