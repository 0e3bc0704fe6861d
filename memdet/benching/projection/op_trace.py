"""Counts what a network call does, operator by operator: FLOPs, bytes moved, memory. Works on the meta device."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from memdet.curvature import JacobianOperator

Unit = Literal["F", "JVP", "VJP"]
UNITS: tuple[Unit, ...] = get_args(Unit)
# They give a tensor without reading or writing it.
_ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_efficientzerotensor"}
_METADATA = {"is_same_size", "_has_same_storage_numel"}  # forward AD asks by the thousand


@dataclass(frozen=True)
class Operator:
    """One operator call.

    Attributes:
        name: Of torch's operator.
        flops: As torch's ``FlopCounterMode`` has them; None where it has no formula.
        fixed_bytes: Weights read.
        row_bytes: All else that is read and written.
        elements: Read and written, weights included.
    """

    name: str
    flops: int | None
    fixed_bytes: int
    row_bytes: int
    elements: int


@dataclass(frozen=True)
class Trace:
    """All operator calls of one evaluation, in order, and the memory that it took.

    Attributes:
        operators: The calls. Views and allocations move nothing and are left out.
        rows: Of the input, all together.
        peak_bytes: Largest sum of the intermediate tensors alive at a time: the output and, for a VJP, the graph
            included, weights and inputs not.
    """

    operators: tuple[Operator, ...]
    rows: int
    peak_bytes: int

    @property
    def flops(self) -> int:
        """Floating-point operations of the counted operators; a multiplication and an addition are two."""
        return sum(operator.flops or 0 for operator in self.operators)

    @property
    def bytes_moved(self) -> int:
        """What the operators read and write, each for itself: it goes through memory if nothing is fused or cached."""
        return sum(operator.fixed_bytes + operator.row_bytes for operator in self.operators)

    @property
    def coverage(self) -> float:
        """Share of the arithmetic that the FLOPs cover, in [0, 1].

        Operators without a formula are taken to do one operation for each element that they read or write.
        """
        rest = sum(operator.elements for operator in self.operators if operator.flops is None)
        return self.flops / (self.flops + rest) if self.flops + rest else 1.0

    @property
    def uncounted(self) -> dict[str, tuple[int, int]]:
        """Calls and bytes of each operator without a formula, most bytes first."""
        found: dict[str, tuple[int, int]] = {}
        for operator in self.operators:
            if operator.flops is None:
                calls, size = found.get(operator.name, (0, 0))
                found[operator.name] = (calls + 1, size + operator.fixed_bytes + operator.row_bytes)
        return dict(sorted(found.items(), key=lambda entry: -entry[1][1]))


def trace(function: Callable[[Tensor], Tensor], x: Tensor, unit: Unit, weights: Iterable[Tensor] = ()) -> Trace:
    """Record one evaluation as :class:`memdet.curvature.JacobianOperator` makes it.

    On the meta device attention is one fused operator, but in a JVP, which takes the plain kernel everywhere.

    Args:
        function: Maps ``[batch, ...]`` to the same shape.
        x: Its input.
        unit: ``F`` a forward; ``JVP`` a forward-mode product, the value included; ``VJP`` a reverse-mode product on a
            graph that is there (its forward is another F).
        weights: Tensors that do not grow with the batch.

    Example:
        >>> x = torch.empty(1, 8, device="meta")
        >>> layer = torch.nn.Linear(8, 8, bias=False, device="meta").requires_grad_(False)
        >>> trace(layer, x, "F").flops, trace(layer, x, "VJP").flops
        (128, 128)
    """
    recorder = _Recorder(weights)
    if unit == "F":
        with torch.no_grad(), _FusedAttention(), recorder:
            function(x)
    else:
        operator = JacobianOperator(function, x, "jvp" if unit == "JVP" else "vjp", check=False)
        v = torch.empty_like(x)
        if unit == "JVP":
            with recorder:
                operator.mv(v)
        else:
            with _FusedAttention(), recorder:
                operator.rmv(v)
                recorder.operators.clear()  # the graph stands now
                operator.rmv(v)
    return Trace(tuple(recorder.operators), len(x), recorder.peak)


class _FusedAttention(TorchFunctionMode):
    """Has attention on the meta device recorded as the one operator that it is on a GPU."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        plain = all(given.get(name) in (None, default) for name, default in _PLAIN.items())
        if func is scaled_dot_product_attention and len(args) == 3 and args[0].is_meta and plain:
            return torch.ops.aten._scaled_dot_product_flash_attention(*args)[0]
        return func(*args, **given)


_PLAIN = {"attn_mask": None, "dropout_p": 0.0, "is_causal": False, "scale": None, "enable_gqa": False}


class _Recorder(TorchDispatchMode):
    """Sees every operator call below autograd."""

    def __init__(self, weights: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch is not annotated
        self.operators: list[Operator] = []
        self.peak = 0
        self._live = 0
        self._storages = [weight.untyped_storage() for weight in weights]  # kept, so that their ids stay theirs
        self._weights = {id(storage) for storage in self._storages}
        self._known: dict[int, Any] = {}
        self._counter = FlopCounterMode(display=False)
        self._without_formula: set[Any] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        name = func.overloadpacket.__name__
        if name in _METADATA:
            return func(*args, **given)
        result, flops = self._call(func, args, given)
        if name == "native_layer_norm" and result[0].is_meta:
            # Mean and deviation are float32 here. Forward AD would take tangents of 16 bits to float32 with them, which
            # no weight of 16 bits multiplies.
            result = (result[0], *(part.to(result[0].dtype) for part in result[1:]))
        inputs, outputs = list(_tensors((args, given))), list(_tensors(result))
        allocates = name in _ALLOCATIONS
        sources = {id(tensor.untyped_storage()) for tensor in inputs}
        if name != "_efficientzerotensor":  # it claims a size and holds none
            self._remember(tensor for tensor in outputs if id(tensor.untyped_storage()) not in sources)
        views = not func._schema.is_mutable and all(id(tensor.untyped_storage()) in sources for tensor in outputs)
        if not (allocates or views):
            self._record(name, flops, [*{id(tensor): tensor for tensor in inputs}.values(), *outputs])
        return result

    def _call(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, int | None]:
        """Result, and FLOPs where there is a formula.

        The counter stands around the operator alone: it would hook modules, which reverse AD does not allow.
        """
        if func in self._without_formula:
            return func(*args, **kwargs), None
        with self._counter:
            result = func(*args, **kwargs)
        if not self._counter.get_flop_counts():
            self._without_formula.add(func)
            return result, None
        return result, self._counter.get_total_flops()

    def _record(self, name: str, flops: int | None, tensors: Sequence[Tensor]) -> None:
        fixed = moved = elements = 0
        for tensor in tensors:
            touched = _touched(tensor)
            elements += touched
            if id(tensor.untyped_storage()) in self._weights:
                fixed += touched * tensor.element_size()
            else:
                moved += touched * tensor.element_size()
        self.operators.append(Operator(name, flops, fixed, moved, elements))

    def _remember(self, tensors: Iterable[Tensor]) -> None:
        """Count new storages, until they are freed."""
        for tensor in tensors:
            storage = tensor.untyped_storage()
            key, size = id(storage), storage.nbytes()
            if key in self._known:
                continue
            self._known[key] = weakref.ref(storage, partial(self._forget, key, size))
            self._live += size
            self.peak = max(self.peak, self._live)

    def _forget(self, key: int, size: int, _: object) -> None:
        del self._known[key]
        self._live -= size


def _tensors(tree: Any) -> Iterator[Tensor]:
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for part in tree:
            yield from _tensors(part)
    elif isinstance(tree, dict):
        yield from _tensors(tuple(tree.values()))


def _touched(tensor: Tensor) -> int:
    """Elements in memory: those of an expanded dimension are one."""
    elements = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        elements *= size if stride else min(size, 1)
    return elements
