"""A checksum of a user's own code and of what it holds, so that two networks of one name can be told apart."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from os import PathLike
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_FOREIGN = {"torch", *sys.stdlib_module_names}  # packages whose code is nobody's own


def digest_of_code(*values: Any) -> str:
    """SHA-256 of functions, modules and what they hold.

    Read are: the source of functions and classes of the top-level packages of what is given (their bytecode where there
    is no source, as at a prompt); default arguments, closures and globals that they name; arguments of ``partial``;
    weights, buffers and plain attributes of modules and other objects; tensors, arrays, containers, numbers and text.
    Of code of other packages, of torch and of Python the name alone counts. Files that code reads are not followed.

    Args:
        values: Anything; the same in the same order gives the same digest in any process.

    Example:
        >>> digest_of_code(partial(max, 1)) == digest_of_code(partial(max, 1)), digest_of_code(1) == digest_of_code(2)
        (True, False)
    """
    return _Reader({_home(value) for value in values} - _FOREIGN).read(values)


class _Reader:
    """Digests values; each object once, so that loops end.

    Args:
        homes: Top-level packages whose code is read.
    """

    def __init__(self, homes: Iterable[str]) -> None:
        self._homes = set(homes)
        self._known: dict[int, tuple[str, Any]] = {}  # with the object, so that its id is not given to another

    def read(self, value: Any) -> str:
        """Digest of one value, with its type and all that it holds."""
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return _sha256([type(value).__qualname__, repr(value)])
        if id(value) not in self._known:
            self._known[id(value)] = ("inside itself", value)
            parts = [part if isinstance(part, str) else self.read(part) for part in self._parts(value)]
            self._known[id(value)] = (_sha256([type(value).__qualname__, *parts]), value)
        return self._known[id(value)][0]

    def _parts(self, value: Any) -> Iterator[Any]:
        """What stands for a value that is not plain."""
        match value:
            case Tensor():
                data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
                yield from (str(value.dtype), list(value.shape), hashlib.sha256(data.tobytes()).hexdigest())
            case np.ndarray():
                yield from (str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest())
            case Mapping():
                yield from ([key, held] for key, held in value.items())
            case list() | tuple():
                yield from map(self.read, value)
            case set() | frozenset():
                yield from sorted(map(repr, value))
            case partial():
                yield from (value.func, value.args, value.keywords)
            case MethodType():
                yield from (value.__func__, value.__self__)
            case FunctionType():
                yield from self._of_function(value)
            case ModuleType():
                yield value.__name__
            case BuiltinFunctionType():
                yield self._code(value)
            case type():
                yield self._code(value)
                if _home(value) in self._homes:
                    yield from (held for held in vars(value).values() if isinstance(held, FunctionType))
            case nn.Module():
                yield value.state_dict()
                for module in value.modules():
                    yield from (type(module), _plain(module))
            case torch.dtype() | torch.device() | range() | PathLike():
                yield str(value)
            case _ if isinstance(value, SimpleNamespace) or _home(value) not in _FOREIGN:
                yield from (type(value), getattr(value, "__dict__", ""))
            case _:  # a logger, say, holds all others
                yield type(value)

    def _of_function(self, function: FunctionType) -> Iterator[Any]:
        yield self._code(function)
        if _home(function) not in self._homes:
            return
        yield from (function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            try:
                yield cell.cell_contents
            except ValueError:  # not filled yet
                yield None
        for name in sorted(_names(function.__code__)):
            if name in function.__globals__:
                yield [name, function.__globals__[name]]

    def _code(self, item: Any) -> str:
        """Source where it is at home and can be read, else its name."""
        name = f"{getattr(item, '__module__', '')}.{getattr(item, '__qualname__', '')}"
        if _home(item) not in self._homes:
            return name
        try:
            return name + inspect.getsource(item)
        except (OSError, TypeError):
            return name + "".join(_bytecode(getattr(item, "__code__", None)))


def _sha256(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()


def _home(item: Any) -> str:
    """Top-level package in which a value, or else its type, was written."""
    while isinstance(item, partial):
        item = item.func
    module = getattr(item, "__module__", None) or type(item).__module__
    return str(module).partition(".")[0]


def _plain(module: nn.Module) -> dict[str, Any]:
    """What a module keeps beside weights, hooks and other modules."""
    return {name: held for name, held in vars(module).items() if not name.startswith("_") and name != "training"}


def _names(code: CodeType) -> set[str]:
    """Names that code and the functions inside it look up."""
    inner = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _bytecode(code: CodeType | None) -> Iterator[str]:
    if code is not None:
        yield code.co_code.hex()
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from _bytecode(constant)
            else:
                yield repr(constant)
