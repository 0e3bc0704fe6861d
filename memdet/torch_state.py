"""What torch is told once for a whole process: memdet computes under its own settings, and leaves the caller's alone.

Imports no torch until something is computed, so that detectors can be listed without it.
"""

from __future__ import annotations

import functools
import hashlib
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=Callable[..., Any])

_BACKENDS = tuple((backend, op) for backend in ("cuda", "mkldnn") for op in ("all", "matmul", "conv", "rnn"))
_AUTOCAST = ("cpu", "cuda", "mps", "xpu")


@contextmanager
def own_state(*, grad: bool | None = None) -> Iterator[None]:
    """Inside, torch is as a new process finds it; afterwards it is as the caller had it.

    That is: float32 and the CPU where nothing is said, no inference mode and no autocast, full precision of products,
    no demand for deterministic algorithms. The number of threads and the attention kernels stay the caller's: they move
    scores by rounding alone.

    Args:
        grad: Whether graphs are recorded; None leaves it as it is, and off in place of a caller's inference mode.

    Example:
        >>> import torch
        >>> with torch.inference_mode(), own_state():
        ...     torch.is_inference_mode_enabled()
        False
    """
    flags = _flags()
    before = [flag.read() for flag in flags]
    try:
        with ExitStack() as stack:
            for entered in _modes(grad):
                stack.enter_context(entered)
            if any(value not in flag.own for flag, value in zip(flags, before, strict=True)):
                for flag in flags:
                    if flag.read() not in flag.own:  # read again, for some follow others
                        flag.write(flag.own[0])
            yield
    finally:
        for flag, value in zip(flags, before, strict=True):
            if flag.read() != value:  # those that only followed are back by then
                flag.write(value)


def _modes(grad: bool | None) -> Iterator[AbstractContextManager[Any]]:
    """What of torch's own contexts has to be entered, one after the other."""
    import torch

    if torch.is_inference_mode_enabled() or not torch.autograd.forward_ad._is_fwd_grad_enabled():
        yield torch.inference_mode(False)
        yield torch.set_grad_enabled(False)
    if grad is not None and torch.is_grad_enabled() != grad:
        yield torch.set_grad_enabled(grad)
    if torch._C._len_torch_function_stack() and torch.get_default_device().type != "cpu":
        yield torch.device("cpu")


@contextmanager
def kept_generators() -> Iterator[None]:
    """Whatever is drawn inside from the generators of torch, NumPy and Python, they go on as if nothing had been."""
    before = [(write, read()) for read, write in _generators()]
    try:
        yield
    finally:
        for write, state in before:
            write(state)


@contextmanager
def seeded_generators(*key: str | int) -> Iterator[None]:
    """As :func:`kept_generators`; inside, they are seeded by the key.

    Example:
        >>> with seeded_generators("mine", 3):
        ...     first = random.random()
        >>> with seeded_generators("mine", 3):
        ...     first == random.random()
        True
    """
    seed = int.from_bytes(hashlib.sha256("\0".join(map(str, key)).encode("utf-8", "surrogatepass")).digest()[:4], "big")
    with kept_generators():
        random.seed(seed)
        if "numpy" in sys.modules:
            import numpy as np

            np.random.seed(seed)
        if "torch" in sys.modules:
            import torch

            torch.default_generator.manual_seed(seed)
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.manual_seed_all(seed)
        yield


def in_own_state(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function, or a method that computes, under :func:`own_state`, and keep the generators."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with own_state(grad=True), kept_generators():
            return function(*args, **kwargs)

    return run


def answers_in_own_state(given: C) -> C:
    """Have a function answer under :func:`own_state`, or of a class constructor, public methods and properties.

    Tensors from a caller's inference mode are cloned: nothing can be derived in them, and they count no changes.
    """
    if not isinstance(given, type):
        return cast("C", _answering(given))
    cls: Any = given
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, property):
            setattr(cls, name, property(_answering(cast("FunctionType", member.fget)), doc=member.__doc__))
        elif isinstance(member, classmethod):
            setattr(cls, name, classmethod(_answering(member.__func__)))
        elif isinstance(member, FunctionType):
            setattr(cls, name, _answering(member))
    return given


def _answering(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def answer(*args: Any, **kwargs: Any) -> Any:
        with own_state():
            return function(*map(_counted, args), **{name: _counted(value) for name, value in kwargs.items()})

    return answer


def _counted(value: Any) -> Any:
    """A value that is no tensor of an inference mode."""
    from torch import Tensor

    return value.clone() if isinstance(value, Tensor) and value.is_inference() else value


@dataclass(frozen=True)
class _Flag:
    """A setting of the whole process.

    Attributes:
        read, write: Its value.
        own: Values that compute alike; the first is the one that memdet sets.
    """

    read: Callable[[], Any]
    write: Callable[[Any], Any]
    own: tuple[Any, ...]


@functools.cache
def _flags() -> tuple[_Flag, ...]:
    """All that can change a number; what others follow stands before them."""
    import torch

    def attribute(module: Any, name: str, *own: Any) -> _Flag:
        return _Flag(lambda: getattr(module, name), lambda value: setattr(module, name, value), own)

    def deterministic() -> tuple[bool, bool]:
        return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()

    def set_deterministic(value: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(value[0], warn_only=value[1])

    def autocast(device: str) -> _Flag:
        return _Flag(
            lambda: torch.is_autocast_enabled(device), lambda value: torch.set_autocast_enabled(device, value), (False,)
        )

    def precision(backend: str, op: str, *own: str) -> _Flag:
        return _Flag(
            lambda: torch._C._get_fp32_precision_getter(backend, op),
            lambda value: torch._C._set_fp32_precision_setter(backend, op, value),
            own,
        )

    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    newer = [precision("generic", "all", "none")] if hasattr(torch._C, "_get_fp32_precision_getter") else []
    if newer:
        # Convolutions and recurrent layers of CUDA start as TF32, as ``cudnn.allow_tf32`` does.
        first = {("cuda", "conv"): ("tf32", "none"), ("cuda", "rnn"): ("tf32", "none")}
        newer += [precision(*place, *first.get(place, ("none", "ieee"))) for place in _BACKENDS]
    return (
        _Flag(torch.get_default_dtype, torch.set_default_dtype, (torch.float32,)),
        *map(autocast, _AUTOCAST),
        _Flag(deterministic, set_deterministic, ((False, False), (False, True))),
        _Flag(_product_precision, _set_product_precision, ("highest", None)),
        *newer,
        attribute(cuda.matmul, "allow_fp16_reduced_precision_reduction", True),
        attribute(cuda.matmul, "allow_bf16_reduced_precision_reduction", True),
        *(attribute(cudnn, name, own) for name, own in (("enabled", True), ("benchmark", False))),
        attribute(cudnn, "deterministic", False),
        *(attribute(mkldnn, name, own) for name, own in (("enabled", True), ("deterministic", False))),
    )


def _product_precision() -> str | None:
    """Precision of float32 products; None where torch's newer switches were used, which are read one by one."""
    import torch

    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _set_product_precision(value: str | None) -> None:
    import torch

    if value is not None:
        torch.set_float32_matmul_precision(value)


def _generators() -> list[tuple[Callable[[], Any], Callable[[Any], Any]]]:
    """How the state of each generator of the process is read and set; of libraries that nobody loaded there is none."""
    found: list[tuple[Callable[[], Any], Callable[[Any], Any]]] = [(random.getstate, random.setstate)]
    if "numpy" in sys.modules:
        import numpy as np

        found.append((np.random.get_state, np.random.set_state))
    if "torch" in sys.modules:
        import torch

        found.append((torch.get_rng_state, torch.set_rng_state))
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            found.append((torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all))
        if torch.backends.mps.is_available():
            found.append((torch.mps.get_rng_state, torch.mps.set_rng_state))
    return found
