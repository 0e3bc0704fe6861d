"""Finds detectors: the files of this package, entry points of other packages, and plugin files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from memdet.detectors.base import Detector
from memdet.detectors.finding import Finder, names_before
from memdet.errors import UserError

ENTRY_POINT_GROUP = "memdet.detectors"
FINDER: Finder[Detector] = Finder(
    Detector,  # type: ignore[type-abstract]  # what is found are subclasses
    ("memdet.detectors.controls", "memdet.detectors.methods"),
    "memdet list detectors",
)


def detector_classes(plugins: Sequence[Path] = ()) -> dict[str, type[Detector]]:
    """All detectors by name: built-in ones, then entry points, then plugin files.

    Args:
        plugins: Python files that define detectors.

    Raises:
        UserError: A plugin cannot be loaded or defines no detector, or two detectors have one name.
    """
    return FINDER.classes(entry_points(group=ENTRY_POINT_GROUP), plugins)


def make_detector(text: str, classes: dict[str, type[Detector]]) -> Detector:
    """Build a detector from ``name`` or ``name@option=value,option=value``.

    Raises:
        UserError: No text, unknown name (the nearest are shown), unknown option, one given twice, or bad value.

    Example:
        >>> make_detector("wen2024@steps=5", detector_classes()).label
        'wen2024@steps=5'
    """
    return FINDER.make(text, classes)


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
        classes = FINDER.built_in()
    return names_before(classes)


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
    return any(cls.info.name == name and version < cls.info.version for cls in FINDER.built_in())
