"""The two branches of a model, and which evaluations of both are one network call."""

from __future__ import annotations

import math
from typing import Literal, get_args

from memdet.models import ClosedForm, ScoreModel

Branch = Literal["cond", "null"]
BRANCHES: tuple[Branch, ...] = get_args(Branch)

JOINED_ON_CPU = 2**15  # latent numbers in a call of both branches, up to which it was found faster than two calls
# Latent numbers of an item that may be joined there: half of Stable Diffusion's, where one row fills cores and memory.
SMALL_ON_CPU = 2**13


def joins_branches(model: ScoreModel, items: int) -> bool:
    """Whether both branches of so many items are evaluated in one network call."""
    if isinstance(model, ClosedForm):
        return False
    if model.device.type != "cpu":
        return True
    numbers = math.prod(model.latent_shape)
    return numbers <= SMALL_ON_CPU and 2 * items * numbers <= JOINED_ON_CPU


def rows_of_calls(model: ScoreModel, items: int, noise: Literal["shared", "per-item"]) -> set[int]:
    """Rows of the network calls of a batch, for whoever accelerates a network for them."""
    return {items} | ({2 * items} if joins_branches(model, items) else set()) | ({1} if noise == "shared" else set())
