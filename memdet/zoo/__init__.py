"""The planted models: recipes that train them, and the checks that hold the shipped weights to their card.

Importing this package imports no torch; a recipe's module is imported when it is used.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import Any

from memdet.errors import UserError

__all__ = ["RECIPES", "build", "recipe_names", "verify", "weights_directory"]

RECIPES: dict[str, str] = {
    "tiny-sd-a": "memdet.zoo.tiny_sd:TINY_SD_A",
}
_WEIGHTS = Path(__file__).parent / "weights"


def recipe_names() -> list[str]:
    """Names that `build` knows."""
    return sorted(RECIPES)


def build(name: str, out: Path, data: Path | None = None) -> dict[str, Any]:
    """Train a planted model from its recipe; resumes a build that was interrupted.

    Args:
        name: One of `recipe_names`.
        out: Directory of the pipeline.
        data: Directory of the original Fashion-MNIST files; without it they are looked for.

    Returns:
        The figures of the extraction check; ``passed`` says whether the planting worked.

    Raises:
        UserError: Unknown name, or the data are not where ``data`` says.
    """
    module, _, attribute = RECIPES[_known(name)].partition(":")
    recipes = import_module(module)
    figures: dict[str, Any] = recipes.build(getattr(recipes, attribute), out, data)
    return figures


def verify(name_or_directory: str | Path) -> list[str]:
    """Run the extraction check of a built model again and compare it with the stored figures.

    Args:
        name_or_directory: One of `recipe_names`, for the weights that ship with memdet, or the directory of a build.

    Returns:
        A line for each disagreement and each failed criterion; empty when all is well.

    Raises:
        UserError: Neither a name nor a directory, or the directory lacks a file.
    """
    reference = str(name_or_directory)
    if reference not in RECIPES and Path(reference).is_dir():
        directory = Path(reference)
    else:
        directory = weights_directory(reference)
    from memdet.zoo import extraction

    return extraction.verify(directory)


def weights_directory(name: str) -> Path:
    """Where the shipped weights of a model lie.

    Args:
        name: One of `recipe_names`.

    Returns:
        A directory in the Stable Diffusion pipeline format.

    Raises:
        UserError: Unknown name.
    """
    return _WEIGHTS / _known(name)


def _known(name: str) -> str:
    if name in RECIPES:
        return name
    near = difflib.get_close_matches(name, RECIPES, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(recipe_names())}"
    raise UserError(f"no planted model is called {name!r}: {hint}")
