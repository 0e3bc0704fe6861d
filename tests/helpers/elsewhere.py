"""A device that is not there: tensors whose numbers lie on the CPU, and which say that they lie elsewhere.

An operator that is given a tensor of the host and one from elsewhere is refused as CUDA refuses it: only numbers
without dimensions, indices and copies may cross. What reads numbers on the host (``item``, ``tolist``) works, as on
CUDA, and ``numpy`` is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

DEVICE = torch.device("meta")  # a device that torch knows, whose own kernels are never reached
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default, aten.lift_fresh.default, aten.lift.default}
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
HOST = torch.device("cpu")


class MixedDevicesError(RuntimeError):
    """An operator was given tensors of both devices."""


class Elsewhere(Tensor):
    """A tensor on the device that is not there."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> Elsewhere:
        assert type(inner) is Tensor, type(inner)
        made = Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=DEVICE,
            requires_grad=False,
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def data_ptr(self) -> int:
        """Of the numbers."""
        return self.inner.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        """Of the numbers."""
        return self.inner.untyped_storage()

    def tolist(self):
        """Allowed, as on a GPU: a copy to the host."""
        return self.inner.tolist()

    def numpy(self, *, force: bool = False):
        """Refused, unless it may copy."""
        if not force:
            raise TypeError("can't convert a tensor from elsewhere to numpy; use Tensor.cpu() first")
        return self.detach().cpu().numpy()

    def __array__(self, *args, **kwargs):
        return self.numpy()

    def __repr__(self) -> str:
        return f"Elsewhere({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def compute(func, args, kwargs):
    """One operator, on the CPU, with its result where its inputs are, or where it says."""
    if (
        func is aten._efficientzerotensor.default
    ):  # of no memory: kernels of the CPU know it by a key that is ours no more
        func = aten.zeros.default
    leaves = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    away = [leaf for leaf in leaves if isinstance(leaf, Elsewhere)]
    asked = kwargs.get("device")
    check(func, args, leaves, away)
    inner_args, inner_kwargs = pytree.tree_map_only(Elsewhere, lambda one: one.inner, (args, kwargs))
    if asked is not None:
        inner_kwargs = inner_kwargs | {"device": HOST}
    result = pytree.tree_map_only(Tensor, _plain, func(*inner_args, **inner_kwargs))
    to_host = asked is not None and torch.device(asked).type != DEVICE.type
    if (away and not to_host) or (asked is not None and not to_host):
        result = pytree.tree_map_only(Tensor, lambda one: one if isinstance(one, Elsewhere) else Elsewhere(one), result)
    if not away:
        return result
    if to_host:
        return pytree.tree_map_only(
            Tensor, lambda one: one.clone() if any(one is leaf.inner for leaf in away) else one, result
        )
    return return_and_correct_aliasing(func, args, kwargs, result)


def _plain(tensor: Tensor) -> Tensor:
    """Numbers as they are, not marked to be conjugated or negated: kernels would not see the mark inside."""
    return tensor.resolve_conj().resolve_neg() if tensor.is_conj() or tensor.is_neg() else tensor


def check(func, args, leaves, away) -> None:
    """Refuse both devices at once."""
    stray = [leaf for leaf in leaves if leaf.device.type == DEVICE.type and not isinstance(leaf, Elsewhere)]
    if stray:
        raise MixedDevicesError(f"{func}: a tensor of torch's own {DEVICE} device, without numbers")
    host = [leaf for leaf in leaves if not isinstance(leaf, Elsewhere) and leaf.ndim > 0]
    if not away or not host or func in COPIES:
        return
    if func in INDEXING:  # indices may lie on the host, where the tensor is elsewhere
        rest = [args[0], *args[2:3]]
        if all(isinstance(one, Elsewhere) or one.ndim == 0 for one in rest):
            return
    raise MixedDevicesError(f"{func} is given tensors of both devices, {[list(one.shape) for one in host]} on the host")


class _FromHostNumbers(TorchFunctionMode):
    """``torch.tensor([1.0], device=DEVICE)`` and ``x[[0, 2]]``: torch itself would make a tensor without numbers."""

    MAKERS = (torch.tensor, torch.as_tensor, torch.asarray)

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in self.MAKERS and not isinstance(args[0], Tensor):
            args = (pytree.tree_map_only(Elsewhere, lambda one: one.inner, args[0]), *args[1:])
        if func is Tensor.__getitem__:
            return func(args[0], _placed(args[1]))
        if func not in self.MAKERS or kwargs.get("device") is None:
            return func(*args, **kwargs)
        return func(*args, **kwargs | {"device": None}).to(kwargs["device"])


def _placed(index):
    """An index with its lists of numbers as tensors."""
    if isinstance(index, tuple):
        return tuple(map(_placed, index))
    return torch.tensor(index) if isinstance(index, list) else index


class Device(TorchDispatchMode):
    """What is made on the device while this is entered: ``torch.zeros(3, device=DEVICE)``, ``x.to(DEVICE)``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return compute(func, args, kwargs or {})


def put(module: nn.Module) -> nn.Module:
    """A module with its weights elsewhere, in place."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                part._parameters[name] = nn.Parameter(Elsewhere(weight.detach()), weight.requires_grad)
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = Elsewhere(buffer.detach())
    return module


@contextmanager
def device() -> Iterator[torch.device]:
    """Inside, the device is there."""
    with Device(), _FromHostNumbers():
        yield DEVICE
