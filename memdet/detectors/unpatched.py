"""Notices functions that a detector of somebody else replaced in packages that all detectors share."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

from memdet.source_files import is_installed

SHARED = (
    "torch",
    "torch.autograd",
    "torch.func",
    "torch.linalg",
    "torch.nn",
    "torch.nn.functional",
    "torch.nn.modules.module:Module",
    "torch:Tensor",
    "numpy",
    "numpy.linalg",
    "numpy.random",
    "random",
    "math",
)
"""Modules, and classes after a colon, whose functions are watched, beside all modules of memdet that are loaded."""

_MODELS = ("memdet", "diffusers", "transformers", "torch")

Functions = dict[tuple[str, str], Any]
"""By place and name."""


def shared_functions() -> Functions:
    """All functions and classes of the watched places, as they are now; torch is imported for it."""
    importlib.import_module("torch")
    return {
        (place, name): value
        for place, holder in _holders()
        for name, value in vars(holder).copy().items()
        if callable(value)
    }


def replaced(before: Functions) -> list[str]:
    """Names of those that are others now, or gone.

    Example:
        >>> import math
        >>> before, kept = shared_functions(), math.sqrt
        >>> math.sqrt = abs
        >>> replaced(before)
        ['math.sqrt']
        >>> math.sqrt = kept
        >>> replaced(before)
        []
    """
    now = {place: vars(holder) for place, holder in _holders()}
    return sorted(
        f"{place.replace(':', '.')}.{name}"
        for (place, name), value in before.items()
        if place in now and now[place].get(name) is not value and not _of_a_package(now[place].get(name))
    )


def restore(before: Functions) -> None:
    """Put back what was replaced."""
    holders = dict(_holders())
    for (place, name), value in before.items():
        if place in holders and vars(holders[place]).get(name) is not value:
            setattr(holders[place], name, value)


def planted(folder: Path) -> list[str]:
    """Names in packages of models that are loaded, and in their classes, whose code lies in a folder of somebody else.

    Args:
        folder: Of a plugin; what lies in memdet or an installed package is theirs.
    """
    found = []
    own = Path(__file__).parents[1]
    for place, module in sorted(sys.modules.copy().items()):
        if place.partition(".")[0] not in _MODELS or module is None:
            continue
        for holder in (module, *(one for one in vars(module).copy().values() if _is_class_of(one, place))):
            for name, value in vars(holder).copy().items():
                function = value.__func__ if type(value) in (classmethod, staticmethod) else value
                if type(function) is not FunctionType:  # of others even asking for attributes may do something
                    continue
                file = Path(function.__code__.co_filename)
                if file.is_relative_to(folder) and not file.is_relative_to(own) and not is_installed(file):
                    found.append(".".join([place, *([holder.__name__] if isinstance(holder, type) else ()), name]))
    return found


def _is_class_of(value: Any, module: str) -> bool:
    return issubclass(type(value), type) and vars(value).get("__module__") == module


def _of_a_package(value: Any) -> bool:
    """Whether a function is code of an installed package: some of torch's own replace others when they are loaded."""
    code = getattr(value, "__code__", None)
    return code is not None and is_installed(Path(code.co_filename))


def _holders() -> Iterator[tuple[str, Any]]:
    own = [name for name in list(sys.modules) if name.partition(".")[0] == "memdet"]
    for place in (*SHARED, *own):
        module_name, _, cls = place.partition(":")
        module = sys.modules.get(module_name)
        if module is not None:
            yield place, getattr(module, cls) if cls else module
