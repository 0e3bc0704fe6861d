"""The planted models: recipes that train them, and the checks that hold the shipped weights to their card.

Importing this package imports no torch; a recipe's module is imported when it is used.
"""

from __future__ import annotations

import difflib
from importlib import import_module
from pathlib import Path
from typing import Any

from memdet import io_utils
from memdet.errors import UserError
from memdet.torch_state import in_own_state

__all__ = ["RECIPES", "build", "load_recipe", "recipe_names", "verify", "weights_directory"]

RECIPES: dict[str, str] = {
    "fashion-multi": "memdet.zoo.fashion_pixel.recipe:FASHION_MULTI",
    "fashion-pixel": "memdet.zoo.fashion_pixel.recipe:FASHION_PIXEL",
    "solid-pixel": "memdet.zoo.solid_pixel.recipe:SOLID_PIXEL",
    "tiny-ddpm": "memdet.zoo.tiny_ddpm.recipe:TINY_DDPM",
    "tiny-dreambooth-a": "memdet.zoo.tiny_lora.recipe:TINY_DREAMBOOTH_A",
    "tiny-dreambooth-b": "memdet.zoo.tiny_lora.recipe:TINY_DREAMBOOTH_B",
    "tiny-lora-a": "memdet.zoo.tiny_lora.recipe:TINY_LORA_A",
    "tiny-lora-b": "memdet.zoo.tiny_lora.recipe:TINY_LORA_B",
    "tiny-sd-a": "memdet.zoo.tiny_sd.recipe:TINY_SD_A",
    "tiny-sd-b": "memdet.zoo.tiny_sd.recipe:TINY_SD_B",
    "tiny-sd2-a": "memdet.zoo.tiny_sd2.recipe:TINY_SD2_A",
    "tiny-sd3-a": "memdet.zoo.tiny_sd3.recipe:TINY_SD3_A",
    "tiny-sd3-b": "memdet.zoo.tiny_sd3.recipe:TINY_SD3_B",
    "toy-2d": "memdet.zoo.toy_2d.recipe:TOY_2D",
}


def recipe_names() -> list[str]:
    """Names that `build` knows."""
    return sorted(RECIPES)


@in_own_state
def build(name: str, out: Path, data: Path | None = None, seed: int | None = None) -> dict[str, Any]:
    """Train a planted model from its recipe; resumes a build that was interrupted.

    Args:
        name: One of `recipe_names`.
        out: Directory of the pipeline.
        data: Directory of the original Fashion-MNIST files; without it they are looked for.
        seed: Instead of the recipe's own, for roles, initial weights and batches.

    Returns:
        The figures of the extraction check; ``passed`` says whether the planting worked.

    Raises:
        UserError: Unknown name, the data are not where ``data`` says, or the weights cannot be written.
    """
    recipe = load_recipe(name)
    if seed is not None:
        recipe = recipe.reseeded(seed)
    from safetensors import SafetensorError

    try:
        figures: dict[str, Any] = import_module(_module_of(name)).build(recipe, out, data)
    except SafetensorError as error:
        raise UserError(
            f"{out}: the weights could not be written ({error}); what was trained is kept, the same command goes on"
        ) from error
    return figures


def load_recipe(name: str) -> Any:
    """The recipe of a planted model, a dataclass.

    Args:
        name: One of `recipe_names`.

    Raises:
        UserError: Unknown name.
    """
    return getattr(import_module(_module_of(name)), RECIPES[name].partition(":")[2])


@in_own_state
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
    if reference not in RECIPES and Path(reference).expanduser().is_dir():
        directory = Path(reference).expanduser()
    else:
        directory = weights_directory(reference)
    from memdet.zoo import verification

    recipe = verification.read_figures(directory)["recipe"]
    return verification.verify(directory, import_module(_module_of(recipe)).measure)


def weights_directory(name: str) -> Path:
    """Where the shipped weights of a model lie.

    Args:
        name: One of `recipe_names`.

    Returns:
        A directory in a format that :func:`memdet.models.load_model` reads.

    Raises:
        UserError: Unknown name.
    """
    return io_utils.weights_root() / _known(name)


def _module_of(name: str) -> str:
    return RECIPES[_known(name)].partition(":")[0]


def _known(name: str) -> str:
    if name in RECIPES:
        return name
    near = difflib.get_close_matches(name, RECIPES, n=3)
    hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(recipe_names())}"
    raise UserError(f"no planted model is called {name!r}: {hint}")
