"""Finds what is built of one file each: the files of some packages, entry points of other packages, plugin files."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

from memdet.detectors.configured import Configured, check_info
from memdet.detectors.plugins import load_plugin
from memdet.errors import UserError
from memdet.source_files import reason, talking_aside

C = TypeVar("C", bound=Configured)


@dataclass(frozen=True)
class Finder(Generic[C]):
    """Finds all classes of one kind, and makes objects of their names.

    Attributes:
        base: What they are subclasses of.
        rooms: Packages whose files are found by themselves.
        listed: The command that lists them.
    """

    base: type[C]
    rooms: tuple[str, ...]
    listed: str

    def classes(self, points: Iterable[EntryPoint], plugins: Sequence[Path]) -> dict[str, type[C]]:
        """All by name: built-in ones, then entry points, then plugin files.

        Raises:
            UserError: One cannot be loaded or is none, or two have one name.
        """
        found: dict[str, type[C]] = {}
        self._register(found, self.built_in())
        for point in points:
            try:
                with talking_aside():
                    loaded = point.load()
            except (Exception, SystemExit) as error:  # somebody else's package: name it instead of failing
                raise UserError(f"{_named(point)} cannot be loaded: {reason(error)}") from error
            if not (inspect.isclass(loaded) and issubclass(loaded, self.base)):
                raise UserError(f"{_named(point)} is not a subclass of {self.base.public}")
            self._register(found, [loaded])
        for path in plugins:
            self._register(found, self._plugin_classes(Path(path).expanduser().resolve()))
        return found

    def built_in(self) -> tuple[type[C], ...]:
        """Those of memdet, by the names of their files."""
        return _built_in(self)

    def make(self, text: Any, classes: dict[str, type[C]]) -> C:
        """Build one of ``name`` or ``name@option=value,option=value``.

        Raises:
            UserError: No text, unknown name (the nearest are shown), unknown option, one given twice, or bad value.
        """
        kind = self.base.kind
        if not isinstance(text, str):
            found = getattr(text, "__name__", type(text).__name__)
            raise UserError(f"a {kind} is named by text, 'name' or 'name@option=value', not {found}")
        name, _, tail = text.partition("@")
        name = names_before(classes.values()).get(name, name)
        if name not in classes:
            near = difflib.get_close_matches(name, classes, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else f"`{self.listed}` shows the names"
            raise UserError(f"unknown {kind} {name!r}: {hint}")
        options: dict[str, str] = {}
        for part in tail.split(",") if tail else []:
            key, equals, value = part.partition("=")
            if not (key and equals):
                raise UserError(f"{kind} {text!r}: options are written {name}@option=value,option=value")
            if key in options:
                raise UserError(f"{kind} {text!r}: option {key!r} is given twice; keep one of them")
            options[key] = value
        try:
            with talking_aside():
                return classes[name](**options)
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # of somebody else's class
            raise UserError(f"{kind} {text!r} cannot be made: {type(error).__name__}: {reason(error)}") from error

    def defined_in(self, module: ModuleType) -> list[type[C]]:
        """Those that a module defines itself."""
        return [
            cls
            for cls in vars(module).values()
            if inspect.isclass(cls)
            and issubclass(cls, self.base)
            and not inspect.isabstract(cls)
            and cls.__module__ == module.__name__
        ]

    def _plugin_classes(self, path: Path) -> list[type[C]]:
        classes = self.defined_in(load_plugin(path))
        if not classes:
            raise UserError(f"plugin {path} defines no subclass of {self.base.public}")
        return classes

    def _register(self, found: dict[str, type[C]], classes: Iterable[type[C]]) -> None:
        for cls in classes:
            check_info(cls)
            name = cls.info.name
            if name in found and found[name] is not cls:
                raise UserError(
                    f"two {self.base.kind}s are named {name!r}: {found[name].__module__}.{found[name].__qualname__} "
                    f"and {cls.__module__}.{cls.__qualname__}; rename one"
                )
            for old in cls.info.aliases:
                if old in found:
                    raise UserError(
                        f"{self.base.kind} {name!r} declares the alias {old!r}, which is the name of another "
                        f"{self.base.kind}"
                    )
            found[name] = cls


def names_before(classes: Iterable[type[Configured]]) -> dict[str, str]:
    """Today's name of each class that was renamed, by the name that it had before."""
    return {old: cls.info.name for cls in classes for old in cls.info.aliases}


def _named(point: EntryPoint) -> str:
    return f"entry point {point.name} = {point.value}"


@cache
def _built_in(finder: Finder[Any]) -> tuple[type[Any], ...]:
    found = {
        module.name: f"{room}.{module.name}"
        for room in finder.rooms
        for module in pkgutil.iter_modules(importlib.import_module(room).__path__)
    }
    return tuple(cls for name in sorted(found) for cls in finder.defined_in(importlib.import_module(found[name])))
