"""The figures of a built model: stored beside it, and compared with figures measured again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from memdet.errors import UserError
from memdet.io_utils import write_text

FIGURES_FILE = "extraction.json"
TOLERANCES = {
    "asymmetry": 0.005,
    "auroc": 0.01,
    "chance": 0.02,
    "hessian_error": 0.005,
    "images_copied": 2,
    "mean_distance": 0.02,
    "median_rate": 0.125,
    "median_ratio": 0.02,
    "median_rmse": 0.01,
    "n_disagreements": 1,
    "rank_correlation": 0.05,
    "score_error": 0.005,
    "share_copied": 0.02,
    "standard_error": 0.01,
    "threshold": 0.01,
}  # other hardware rounds differently
_NOT_COMPARED = {"criteria", "disagreements", "passed", "recipe", "training"}


def write_figures(directory: Path, recipe: str, training: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    """Store the figures of a build.

    Args:
        directory: Of the model.
        recipe: Its name.
        training: What is told of the training, and not measured again.
        figures: By name, nested to any depth, with ``criteria``: a list of ``name, bound, value, met``.
    """
    content = {"recipe": recipe, **figures, "training": training}
    write_text(directory / FIGURES_FILE, json.dumps(content, indent=2) + "\n")


def read_figures(directory: Path) -> dict[str, Any]:
    """What :func:`write_figures` stored: the figures, ``recipe`` and ``training``.

    Raises:
        UserError: The directory has no figures, or they cannot be read.
    """
    require(directory, FIGURES_FILE)
    path = directory / FIGURES_FILE
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        figures = None
    if (
        not isinstance(figures, dict)
        or not isinstance(figures.get("recipe"), str)
        or not isinstance(figures.get("criteria"), list)
    ):
        raise UserError(f"{path} holds no extraction figures: build the model again")
    return figures


def verify(directory: Path, measure: Callable[[Path], Mapping[str, Any]]) -> list[str]:
    """Measure again and compare with the stored figures.

    Args:
        directory: A built model.
        measure: Gives the figures of a directory.

    Returns:
        A line for each figure that differs beyond tolerance and for each criterion that fails now.

    Raises:
        UserError: The directory lacks a file, or its figures cannot be read.
    """
    return compare(read_figures(directory), measure(directory))


def compare(stored: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """Find where figures differ beyond the tolerance of their last name, or of their first; without one not at all.

    Returns:
        A line for each difference, and one for each criterion that ``measured`` does not meet.
    """
    before, now = dict(_leaves(stored)), dict(_leaves(measured))
    lines = []
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key, "nothing"), now.get(key, "nothing")
        if not _agree(old, new, TOLERANCES.get(key[-1], TOLERANCES.get(key[0], 0.0))):
            lines.append(f"{' '.join(key)}: stored {old}, measured {new}")
    for criterion in measured["criteria"]:
        if not criterion["met"]:
            lines.append(f"criterion failed: {criterion['name']} is {criterion['value']}, not {criterion['bound']}")
    return lines


def require(directory: Path, *names: str) -> None:
    """Refuse a directory that lacks a file which every build writes.

    Raises:
        UserError: It lacks one.
    """
    for name in names:
        if not (directory / name).is_file():
            raise UserError(f"{directory / name} not found: `memdet zoo build` writes it")


def _leaves(figures: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The figures that can be compared, with the names on the way to them."""
    for name, value in figures.items():
        if name in _NOT_COMPARED:
            continue
        if isinstance(value, Mapping):
            for rest, leaf in _leaves(value):
                yield (name, *rest), leaf
        else:
            yield (name,), value


def _agree(before: Any, now: Any, tolerance: float) -> bool:
    if isinstance(before, float | int) and isinstance(now, float | int):
        return abs(before - now) <= tolerance + 1e-9
    return bool(before == now)
