"""Which evaluations of the two branches are one network call."""

from __future__ import annotations

import math
from typing import Literal

from memdet.models import ClosedForm, ScoreModel
from memdet.models.accelerated import Accelerated

JOINED_ON_CPU = 2**15  # latent numbers in a call of both branches, up to which it was found faster than two calls
# Latent numbers of an item that may be joined there: half of Stable Diffusion's, where one row fills cores and memory.
SMALL_ON_CPU = 2**13


def joins_branches(model: ScoreModel, items: int) -> bool:
    """Whether both branches of so many items are evaluated in one network call."""
    if not _saves_time_by_fewer_calls(model):
        return False
    return model.device.type != "cpu" or 2 * items * math.prod(model.latent_shape) <= JOINED_ON_CPU


def joins_products(model: ScoreModel, items: int) -> bool:
    """Whether forward-mode products of both branches are made in one call; they take the memory of several forwards."""
    return model.device.type == "cpu" and joins_branches(model, items)


def joins_null_row(model: ScoreModel, items: int) -> bool:
    """Whether the null branch of shared draws is one more row of a call of so many items.

    Not of one item, where memory is scarce, nor of an accelerated network, which would be built for that one call.
    """
    return items > 1 and not isinstance(model, Accelerated) and _saves_time_by_fewer_calls(model)


def _saves_time_by_fewer_calls(model: ScoreModel) -> bool:
    if isinstance(model, ClosedForm):
        return False
    return model.device.type != "cpu" or math.prod(model.latent_shape) <= SMALL_ON_CPU


def rows_of_calls(model: ScoreModel, items: int, noise: Literal["shared", "per-item"]) -> set[int]:
    """Rows of the network calls of a batch, for whoever accelerates a network for them."""
    return {items} | ({2 * items} if joins_branches(model, items) else set()) | ({1} if noise == "shared" else set())
