"""The training set of ``tiny-ddpm``: which pictures of clip art it holds many times, drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.models.diffusers.compositions import draw
from memdet.zoo.clip_art.atlas import Atlas
from memdet.zoo.clip_art.pictures import draw_pictures
from memdet.zoo.tiny_sd.planting import Role, draw_roles

DATA_SEED = 20261207  # pictures are drawn with it, whatever the roles
FILLER = 24_000  # pictures with one copy that are no items
UNUSED = "unused"  # role of pictures that are never trained on and tell what nearness is by chance

ROLES: dict[str, Role] = {
    **{f"copies-{copies}": Role(40, copies) for copies in (512, 256, 128, 64)},
    "single": Role(160, 1),
    "unseen": Role(200, 0),
    UNUSED: Role(24_000, 0),
}


@dataclass(frozen=True)
class PlantedPictures:
    """A planted training set without captions.

    Attributes:
        items: A row an item: ``item_id, role, copies, split``.
        item_images: Picture of each item, ``[n_items, 32, 32, 3]``.
        plan: What each distinct training picture shows.
        images: The distinct training pictures, ``[n_images, 32, 32, 3]``.
        copies: How often the training set holds each of them, ``[n_images]``.
        roles: Role of each of them, ``[n_images]``; those that are no items are ``single`` too.
        names: Item of each of them, ``[n_images]``; empty for those that are none.
        unused: Pictures that were never trained on and are no items, ``[n_unused, 32, 32, 3]``.
    """

    items: pd.DataFrame
    item_images: NDArray[np.uint8]
    plan: NDArray[np.int16]
    images: NDArray[np.uint8]
    copies: NDArray[np.int64]
    roles: NDArray[np.object_]
    names: NDArray[np.object_]
    unused: NDArray[np.uint8]

    @property
    def image_of(self) -> NDArray[np.int64]:
        """The training set, copies included, as indices into ``images``."""
        return np.repeat(np.arange(len(self.images)), self.copies)


def plant(atlas: Atlas, *, seed: int, groups: Mapping[str, Role] | None = None) -> PlantedPictures:
    """Draw pictures, then assign roles at random.

    Args:
        atlas: The motifs.
        seed: Decides the roles, and nothing else: the pictures are the same for every seed.
        groups: Drawn at random over the pictures; ``ROLES`` if None.

    Returns:
        The planted training set.
    """
    groups = ROLES if groups is None else groups
    count = sum(group.items for group in groups.values()) + FILLER
    plan = draw_pictures(count, atlas, np.random.default_rng(DATA_SEED)).plan
    roles, splits = draw_roles(count, np.random.default_rng(seed), groups, {})
    copies = np.array([groups[role].copies if role in groups else 1 for role in roles])
    names = np.array([f"clip-{index:05d}" for index in range(count)], dtype=object)
    names[np.isin(roles, ["filler", UNUSED])] = ""
    chosen, trained = np.flatnonzero(names != ""), np.flatnonzero(copies)
    items = pd.DataFrame(
        {
            "item_id": names[chosen].astype(str),
            "role": roles[chosen].astype(str),
            "copies": copies[chosen],
            "split": splits[chosen].astype(str),
        }
    )
    return PlantedPictures(
        items=items,
        item_images=draw(plan[chosen], atlas.motifs),
        plan=plan[trained],
        images=draw(plan[trained], atlas.motifs),
        copies=copies[trained],
        roles=np.where(roles == "filler", "single", roles)[trained],
        names=names[trained],
        unused=draw(plan[roles == UNUSED], atlas.motifs),
    )
