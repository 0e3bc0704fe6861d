"""Finds detectors: the files of this package, entry points of other packages, and plugin files."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from memdet.detectors.base import Detector, check_info
from memdet.detectors.plugins import load_plugin
from memdet.errors import UserError
from memdet.source_files import reason

ENTRY_POINT_GROUP = "memdet.detectors"
_ROOMS = ("memdet.detectors.controls", "memdet.detectors.methods")


def detector_classes(plugins: Sequence[Path] = ()) -> dict[str, type[Detector]]:
    """All detectors by name: built-in ones, then entry points, then plugin files.

    Args:
        plugins: Python files that define detectors.

    Raises:
        UserError: A plugin cannot be loaded or defines no detector, or two detectors have one name.
    """
    found: dict[str, type[Detector]] = {}
    _register(found, _built_in())
    for point in entry_points(group=ENTRY_POINT_GROUP):
        try:
            loaded = point.load()
        except (Exception, SystemExit) as error:  # somebody else's package: name it instead of failing without a word
            raise UserError(f"entry point {point.name} = {point.value} cannot be loaded: {reason(error)}") from error
        if not (inspect.isclass(loaded) and issubclass(loaded, Detector)):
            raise UserError(f"entry point {point.name} = {point.value} is not a subclass of memdet.Detector")
        _register(found, [loaded])
    for path in plugins:
        _register(found, _plugin_classes(Path(path).expanduser().resolve()))
    return found


def make_detector(text: str, classes: dict[str, type[Detector]]) -> Detector:
    """Build a detector from ``name`` or ``name@option=value,option=value``.

    Raises:
        UserError: No text, unknown name (the nearest are shown), unknown option, one given twice, or bad value.

    Example:
        >>> make_detector("wen2024@steps=5", detector_classes()).label
        'wen2024@steps=5'
    """
    if not isinstance(text, str):
        found = getattr(text, "__name__", type(text).__name__)
        raise UserError(f"a detector is named by text, 'name' or 'name@option=value', not {found}")
    name, _, tail = text.partition("@")
    name = _names_before(classes.values()).get(name, name)
    if name not in classes:
        near = difflib.get_close_matches(name, classes, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else "`memdet list detectors` shows the names"
        raise UserError(f"unknown detector {name!r}: {hint}")
    options = {}
    for part in tail.split(",") if tail else []:
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise UserError(f"detector {text!r}: options are written {name}@option=value,option=value")
        if key in options:
            raise UserError(f"detector {text!r}: option {key!r} is given twice; keep one of them")
        options[key] = value
    return classes[name](**options)


def make_detectors(texts: Iterable[str], classes: dict[str, type[Detector]]) -> list[Detector]:
    """Build detectors, each variant once, in the order given.

    Args:
        texts: ``name`` or ``name@option=value``; ``*`` stands for every detector that no other text names, controls
            aside, and ``-name`` leaves one out of it.
        classes: All there are.

    Raises:
        UserError: An unknown name or option.

    Example:
        >>> classes = detector_classes()
        >>> texts = ["*", *(f"-{name}" for name in classes if name[0] in "abcdefghijklmnopqrstuv")]
        >>> [detector.label for detector in make_detectors(texts, classes)]
        ['webster2023', 'wen2024', 'zhang2026']
    """
    texts = list(texts)
    left_out = {type(make_detector(text[1:], classes)).info.name for text in texts if text.startswith("-")}
    texts = [text for text in texts if not text.startswith("-")]
    named = left_out | {text.partition("@")[0] for text in texts}
    rest = [name for name, cls in classes.items() if name not in named and not cls.info.is_control]
    made = [make_detector(one, classes) for text in texts for one in (rest if text == "*" else [text])]
    return list({detector.label: detector for detector in made}.values())


def with_controls(detectors: Sequence[Detector], classes: dict[str, type[Detector]]) -> list[Detector]:
    """Put the controls before the detectors, those that are missing included: no table stands without them."""
    named = {detector.label: detector for detector in detectors}
    controls = [cls() for cls in classes.values() if cls.info.is_control]
    missing = [control for control in controls if control.label not in named]
    given = [detector for detector in detectors if detector.info.is_control]
    return [*given, *missing, *(detector for detector in detectors if not detector.info.is_control)]


def current_names() -> dict[str, str]:
    """Today's name of each detector that was renamed, by the name that it had before.

    Whoever only reads results is not stopped by a broken package: its aliases are then not known.
    """
    try:
        classes: Iterable[type[Detector]] = detector_classes().values()
    except UserError:
        classes = _built_in()
    return _names_before(classes)


def is_outdated(label: str, version: int) -> bool:
    """Whether a built-in detector has been corrected since scores of it were made.

    Args:
        label: ``name`` or ``name@option=value``, as results hold it.
        version: Of the scores.

    Example:
        >>> is_outdated("nemo2024", 1), is_outdated("wen2024@steps=5", 1), is_outdated("a-plugin", 1)
        (True, False, False)
    """
    name = label.partition("@")[0]
    return any(cls.info.name == name and version < cls.info.version for cls in _built_in())


def _names_before(classes: Iterable[type[Detector]]) -> dict[str, str]:
    return {old: cls.info.name for cls in classes for old in cls.info.aliases}


@cache
def _built_in() -> tuple[type[Detector], ...]:
    found = {
        module.name: f"{room}.{module.name}"
        for room in _ROOMS
        for module in pkgutil.iter_modules(importlib.import_module(room).__path__)
    }
    return tuple(cls for name in sorted(found) for cls in _classes_of(importlib.import_module(found[name])))


def _classes_of(module: ModuleType) -> list[type[Detector]]:
    """Detectors that a module defines itself."""
    return [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls)
        and issubclass(cls, Detector)
        and not inspect.isabstract(cls)
        and cls.__module__ == module.__name__
    ]


def _plugin_classes(path: Path) -> tuple[type[Detector], ...]:
    classes = _classes_of(load_plugin(path))
    if not classes:
        raise UserError(f"plugin {path} defines no subclass of memdet.Detector")
    return tuple(classes)


def _register(found: dict[str, type[Detector]], classes: Iterable[type[Detector]]) -> None:
    for cls in classes:
        check_info(cls)
        name = cls.info.name
        if name in found and found[name] is not cls:
            raise UserError(
                f"two detectors are named {name!r}: {found[name].__module__}.{found[name].__qualname__} "
                f"and {cls.__module__}.{cls.__qualname__}; rename one"
            )
        for old in cls.info.aliases:
            if old in found:
                raise UserError(f"detector {name!r} declares the alias {old!r}, which is the name of another detector")
        found[name] = cls
