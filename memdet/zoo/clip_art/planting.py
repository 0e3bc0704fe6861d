"""Which pictures of clip art are copied, and how often: drawn at random after pictures and captions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.models.diffusers.compositions import PASTES, draw
from memdet.zoo.clip_art.atlas import Atlas
from memdet.zoo.clip_art.pictures import draw_pictures, elsewhere, narrow, region, templates
from memdet.zoo.tiny_sd.planting import SEVERAL, TRANSITION, Planted, Role, TrainingSet, draw_roles

DATA_SEED = 20261130  # captions and pictures are drawn with it, whatever the model
FILLER = 16_000  # pictures with one copy that are in no planted group
FILLERS_FILE = "clip-art-fillers"

ROLES: dict[str, Role] = TRANSITION | {  # images of a caption over several are seen as often as a verbatim one
    "several-3": Role(24, 256, variants=3),
    "more-several-3": Role(16, 256, variants=3),
    "several-10": Role(24, 256, variants=10),
}
MORE = {"more-single": "single", "more-narrow": "narrow", "more-several-3": "several-3"}
_EXCHANGED = (
    ("verbatim", "single"),
    ("template", "narrow"),
    ("several-3", "several-10"),
    ("copies-192", "copies-32"),
    ("copies-160", "copies-64"),
    ("copies-128", "copies-96"),
)
EXCHANGED = MORE | {before: after for pair in _EXCHANGED for before, after in (pair, pair[::-1])}


@dataclass(frozen=True)
class PlantedClipArt:
    """A planted training set of clip art.

    Attributes:
        planted: Its items, captions and pictures; ``item_id, prompt, motif, role, copies, variants, split, region``
            of each item: the name of its first motif, and where that lies if the item is a template.
        plan: What each distinct training picture shows.
    """

    planted: Planted
    plan: NDArray[np.int16]

    def in_files(self, name: str) -> dict[str, NDArray[np.int16]]:
        """Plans by file: of captions that are no item, which sister models share, and of the others.

        Args:
            name: Of the model.
        """
        of_items = self.planted.of_items()
        return {FILLERS_FILE: self.plan[~of_items], name: self.plan[of_items]}


def plant(
    atlas: Atlas, *, seed: int, swap: Mapping[str, str] | None = None, groups: Mapping[str, Role] | None = None
) -> PlantedClipArt:
    """Draw pictures and captions, then assign roles at random.

    Args:
        atlas: The motifs.
        seed: Decides the roles, and nothing else: captions and pictures are the same for every seed.
        swap: Roles that groups take after the draw instead of their own.
        groups: Drawn at random; ``ROLES`` if None.

    Returns:
        The planted training set.
    """
    groups, swap = ROLES if groups is None else groups, MORE if swap is None else swap
    count = sum(group.items for group in groups.values()) + FILLER
    pictures = draw_pictures(count, atlas, np.random.default_rng(DATA_SEED))
    roles, splits = draw_roles(count, np.random.default_rng(seed), groups, swap)
    builder, several = TrainingSet(), {}
    for index, (row, caption) in enumerate(zip(pictures.plan, pictures.captions, strict=True)):
        role, rng = groups.get(roles[index], Role(FILLER, 1)), np.random.default_rng([DATA_SEED, index])
        variants = row[None]
        if roles[index] == "template":
            variants = templates(row, role.variants, atlas, rng)
        elif roles[index] == "narrow":
            variants = narrow(row, role.variants, rng)
        elif roles[index].startswith(SEVERAL):
            variants = several[index] = np.concatenate([variants, elsewhere(row, role.variants - 1, atlas, rng)])
        if role.copies:
            builder.add(caption, variants, role.copies)

    chosen = np.flatnonzero(roles != "filler")
    items = pd.DataFrame(
        {
            "item_id": [f"clip-{index:05d}" for index in chosen],
            "prompt": [pictures.captions[index] for index in chosen],
            "motif": [atlas.names[pictures.plan[index, PASTES]] for index in chosen],
            "role": roles[chosen].astype(str),
            "copies": [groups[role].copies for role in roles[chosen]],
            "variants": [groups[role].variants for role in roles[chosen]],
            "split": splits[chosen].astype(str),
            "region": [region(pictures.plan[index], atlas) if roles[index] == "template" else None for index in chosen],
        }
    )
    references = draw(pictures.plan[chosen], atlas.motifs)
    own = [
        draw(several[index], atlas.motifs) if index in several else reference[None]
        for index, reference in zip(chosen.tolist(), references, strict=True)
    ]
    plan = np.concatenate(builder.images)
    return PlantedClipArt(builder.finish(items, references, own, draw(plan, atlas.motifs)), plan)
