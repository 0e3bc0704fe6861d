"""What code a user's detector consists of, so that another one of the same name is told apart. Imports no torch."""

from __future__ import annotations

import inspect
import os
import sys
from importlib import metadata
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from memdet.errors import UserError
from memdet.source_files import NOBODYS, is_installed, with_imports

_MAIN = {"__main__", "__mp_main__"}  # of the caller, and of a process that it started
_AGAIN = "start Python again, so that what runs is what is read"
_defined: WeakKeyDictionary[type, dict[str, str]] = WeakKeyDictionary()


def note_source(cls: type) -> None:
    """Keep the checksums of the files that a class comes from, when it is defined: they may change while it lives."""
    if not is_nobodys(cls):
        _defined[cls] = files_of(cls)


def code_of(detector: Any) -> dict[str, str]:
    """Checksums of the code of a detector, by what they are of; empty for those of memdet, which a version tells apart.

    Read are: the file that defines its class or that of a base, and local files that this one imports, wherever it
    does; classes of a notebook, of a script or inside a function as
    :func:`memdet.models.code_digest.digest_of_code` reads them; attributes of the object beside its options. Of an
    installed package the version counts. Files that code opens are not followed.

    Args:
        detector: A :class:`~memdet.detectors.Detector` as it will score.

    Raises:
        UserError: A file is not the one that was there when the class was defined.
    """
    found: dict[str, str] = {}
    classes = [cls for cls in type(detector).__mro__ if not is_nobodys(cls)]
    for cls in classes:
        files = files_of(cls)
        if changed := names_of_changed(_defined.get(cls, files), files):
            name = detector.info.name
            raise UserError(f"detector {name}: {', '.join(changed)} changed since this process read it: {_AGAIN}")
        found |= files
        if _lives_in_memory(cls):
            found[f"class {cls.__qualname__}"] = _digest(cls)
    state = {key: value for key, value in vars(detector).items() if key not in detector.option_types()}
    if classes and state:
        found["attributes"] = _digest(state, type(detector))
    return dict(sorted(found.items()))


def is_foreign(detector: Any) -> bool:
    """Whether a detector, or a class that it is built on, is neither memdet's nor Python's."""
    return not all(is_nobodys(cls) for cls in type(detector).__mro__)


def files_of(cls: type) -> dict[str, str]:
    """SHA-256 of the file that defines a class and of local files it imports, by path from that file's folder."""
    if is_nobodys(cls):
        return {}
    path = _file_of(cls.__module__)
    if path is None:
        found: dict[Path, str] = {}
        for used in _modules_used(cls):
            found |= with_imports(used)
        return {file.name: digest for file, digest in found.items()}
    if is_installed(path):
        return _package(cls.__module__.partition(".")[0])
    found = with_imports(path)
    if cls.__module__ in _MAIN:  # an edit elsewhere in a script is no other detector: its class is read by itself
        found.pop(path, None)
    return {Path(os.path.relpath(file, path.parent)).as_posix(): digest for file, digest in found.items()}


def names_of_changed(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What is in both and differs; what an import leads to may be found later than a class is defined."""
    return sorted(name for name in before if now.get(name, before[name]) != before[name])


def is_nobodys(cls: type) -> bool:
    """Whether a class belongs to memdet or Python, and not to a user."""
    return cls.__module__.partition(".")[0] in NOBODYS


def _lives_in_memory(cls: type) -> bool:
    """Whether no file says all of a class: that of a notebook or script, or one that a function made."""
    return cls.__module__ in _MAIN or "<locals>" in cls.__qualname__ or _file_of(cls.__module__) is None


def _file_of(module: str) -> Path | None:
    """Source of a module; None of a notebook, a prompt or standard input."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).resolve() if file is not None and Path(file).is_file() else None


def _modules_used(cls: type) -> list[Path]:
    """Local files whose functions or names a class in memory looks up."""
    found = []
    for method in vars(cls).values():
        function = inspect.unwrap(method) if inspect.isfunction(method) else None
        for name in _names_looked_up(function.__code__) if function is not None else ():
            value = function.__globals__.get(name) if function is not None else None
            module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
            path = _file_of(module) if isinstance(module, str) and module not in _MAIN else None
            if path is not None and not is_installed(path):
                found.append(path)
    return found


def _names_looked_up(code: CodeType) -> set[str]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return set(code.co_names).union(*map(_names_looked_up, inner))


def _digest(*values: Any) -> str:
    from memdet.models.code_digest import digest_of_code

    return digest_of_code(*values)


def _package(top: str) -> dict[str, str]:
    """Version of the installed package that has a module."""
    names = metadata.packages_distributions().get(top, [])
    return {f"package {name}": metadata.version(name) for name in dict.fromkeys(names)}
