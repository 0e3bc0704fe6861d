"""Notices functions that a detector of somebody else replaced in packages that all detectors share."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
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
