"""Finds mitigations: the files of this package, entry points of other packages, and plugin files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from memdet.detectors.finding import Finder
from memdet.mitigation.base import Mitigation

ENTRY_POINT_GROUP = "memdet.mitigations"
FINDER: Finder[Mitigation] = Finder(
    Mitigation,  # type: ignore[type-abstract]  # what is found are subclasses
    ("memdet.mitigation.controls", "memdet.mitigation.methods"),
    "memdet list mitigations",
)


def mitigation_classes(plugins: Sequence[Path] = ()) -> dict[str, type[Mitigation]]:
    """All mitigations by name: built-in ones, then entry points, then plugin files.

    Args:
        plugins: Python files that define mitigations.

    Raises:
        UserError: A plugin cannot be loaded or defines no mitigation, or two mitigations have one name.

    Example:
        >>> sorted(name for name, cls in mitigation_classes().items() if cls.info.is_control)
        ['lower-guidance', 'none', 'other-caption', 'reseed']
    """
    return FINDER.classes(entry_points(group=ENTRY_POINT_GROUP), plugins)


def make_mitigation(text: str, classes: dict[str, type[Mitigation]]) -> Mitigation:
    """Build a mitigation from ``name`` or ``name@option=value,option=value``.

    Raises:
        UserError: No text, unknown name (the nearest are shown), unknown option, one given twice, or bad value.

    Example:
        >>> make_mitigation("lower-guidance@factor=0.25", mitigation_classes()).label
        'lower-guidance@factor=0.25'
    """
    return FINDER.make(text, classes)


def make_mitigations(texts: Iterable[str], classes: dict[str, type[Mitigation]]) -> list[Mitigation]:
    """Build mitigations, each variant once, in the order given, after the controls that all are compared with.

    Args:
        texts: ``name`` or ``name@option=value``; ``*`` stands for all methods, with the default options.
        classes: All there are.

    Raises:
        UserError: An unknown name or option.

    Example:
        >>> classes = mitigation_classes()
        >>> [one.label for one in make_mitigations(["lower-guidance@factor=0.25", "none"], classes)]
        ['none', 'reseed', 'lower-guidance@factor=0.25']
    """
    methods = [name for name, cls in classes.items() if not cls.info.is_control]
    named = [one for text in texts for one in (methods if text == "*" else [text])]
    made = [make_mitigation(text, classes) for text in (*COMPARED, *named)]
    return list({mitigation.label: mitigation for mitigation in made}.values())


COMPARED = ("none", "reseed")
"""Controls without which no number of a mitigation means anything: no mitigation, and what another noise alone does."""
