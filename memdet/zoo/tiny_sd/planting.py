"""Who is duplicated, and how often: the random draw that makes planted ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.zoo.fashion import CLASSES, pad_to_32
from memdet.zoo.tiny_sd.captions import draw_captions

DATA_SEED = 20241205  # captions and images are drawn with it, whatever the model
FILLER = 26_000  # images with one copy that are in no planted group
MORE = "more-"  # begins the names of groups that take the role of the group that they are more of
SEVERAL = "several-"  # begins the roles of one caption over some images, each with the copies of the role


@dataclass(frozen=True)
class Role:
    """A planted group.

    Attributes:
        items: How many captions.
        copies: How often the training set holds each of their images.
        variants: Distinct images under one caption.
    """

    items: int
    copies: int
    variants: int = 1


ROLES: dict[str, Role] = {
    "verbatim": Role(160, 256),
    "single": Role(160, 1),
    "copies-4": Role(60, 4),
    "copies-16": Role(60, 16),
    "copies-64": Role(60, 64),
    "template": Role(40, 2, variants=128),
    "narrow": Role(40, 2, variants=128),
    "unseen": Role(160, 0),
}

# The transition from no copies to nothing but copies, resolved. Groups named more-... take the role of the group
# that they are more of, so that two groups of one size can change places in a sister model.
TRANSITION: dict[str, Role] = {
    "verbatim": Role(160, 256),
    "single": Role(160, 1),
    "more-single": Role(80, 1),
    **{f"copies-{copies}": Role(80, copies) for copies in (192, 160, 128, 96, 64, 32)},
    "template": Role(80, 2, variants=128),
    "narrow": Role(80, 1, variants=128),
    "more-narrow": Role(80, 1, variants=128),
    "several-3": Role(24, 192, variants=3),
    "more-several-3": Role(16, 192, variants=3),
    "several-10": Role(24, 192, variants=10),
    "unseen": Role(160, 0),
}


@dataclass(frozen=True)
class Planted:
    """The training set of a planted model, and the items that detectors are asked about.

    Attributes:
        items: A row an item: ``item_id, prompt, garment, role, copies, variants, split, source_index`` (into
            Fashion-MNIST).
        item_images: Reference image of each item, ``[n_items, 32, 32]``.
        own_images: All images of each item that has several, one an item else; ``[k, 32, 32]`` each.
        captions: Distinct training captions.
        images: Distinct training images, ``[n_images, 32, 32]``.
        caption_of, image_of: The training set, copies included, as indices into ``captions`` and ``images``.
    """

    items: pd.DataFrame
    item_images: NDArray[np.uint8]
    own_images: list[NDArray[np.uint8]]
    captions: list[str]
    images: NDArray[np.uint8]
    caption_of: NDArray[np.int64]
    image_of: NDArray[np.int64]

    def in_files(self, name: str) -> dict[str, NDArray[np.uint8]]:
        """Distinct training images by file: those of captions that are no item, which sister models share, and others.

        Args:
            name: Of the model.
        """
        of_items = self.of_items()
        return {"tiny-sd-fillers": self.images[~of_items], name: self.images[of_items]}

    def of_items(self) -> NDArray[np.bool_]:
        """Which of the distinct training images belong to captions that are items."""
        asked = np.isin(self.captions, self.items["prompt"].to_numpy(str))
        of_items = np.zeros(len(self.images), dtype=bool)
        of_items[self.image_of[asked[self.caption_of]]] = True
        return of_items


def plant(
    images: NDArray[np.uint8],
    classes: NDArray[np.int64],
    *,
    seed: int,
    swap: Mapping[str, str] | None = None,
    groups: Mapping[str, Role] | None = None,
) -> Planted:
    """Draw items and captions, then assign roles at random.

    Args:
        images: Source images, ``[n, 28, 28]``.
        classes: Their class numbers, ``[n]``.
        seed: Decides the roles, and nothing else: captions and images are the same for every seed.
        swap: Roles that groups take after the draw instead of their own: for a sister model in which copied and
            uncopied items change places.
        groups: Drawn at random; ``ROLES`` if None.

    Returns:
        The planted training set.
    """
    groups, data_rng = ROLES if groups is None else groups, np.random.default_rng(DATA_SEED)
    order = data_rng.permutation(_distinct(images))
    n_items = sum(group.items for group in groups.values())
    pool, spare = order[: n_items + FILLER], order[n_items + FILLER :]
    prompts = draw_captions(classes[pool], data_rng)

    roles, splits = draw_roles(len(pool), np.random.default_rng(seed), groups, swap or {})
    padded, several = pad_to_32(images), dict[int, NDArray[np.uint8]]()
    builder, free = TrainingSet(), list(spare[::-1])  # templates take halves from anywhere in spare
    for index in range(len(pool)):
        reference, role = padded[pool[index]], groups.get(roles[index], Role(FILLER, 1))
        variants = reference[None]
        if roles[index] == "template":
            same_class = spare[classes[spare] == classes[pool[index]]]
            others = _of_item(index).choice(same_class, role.variants, replace=False)
            variants = _template_variants(reference, padded[others])
        elif roles[index] == "narrow":
            variants = _narrow_variants(reference, role.variants, _of_item(index))
        elif roles[index].startswith(SEVERAL):
            others = _take(free, classes, classes[pool[index]], role.variants - 1)
            variants = several[index] = np.concatenate([variants, padded[others]])
        if role.copies:
            builder.add(prompts[index], variants, role.copies)

    planted = np.flatnonzero(roles != "filler")
    columns = {
        "item_id": [f"tsd-{index:05d}" for index in planted],
        "prompt": [prompts[index] for index in planted],
        "garment": [CLASSES[classes[pool[index]]] for index in planted],
        "role": roles[planted].astype(str),
        "copies": [groups[role].copies for role in roles[planted]],
        "variants": [groups[role].variants for role in roles[planted]],
        "split": splits[planted].astype(str),
        "source_index": pool[planted],
    }
    references = padded[pool[planted]]
    own = [several.get(int(index), reference[None]) for index, reference in zip(planted, references, strict=True)]
    return builder.finish(pd.DataFrame(columns), references, own)


def _of_item(index: int) -> np.random.Generator:
    """Draws of one item, the same in every model."""
    return np.random.default_rng([DATA_SEED, index])


def _distinct(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where images come for the first time; exact duplicates are left out."""
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    return np.sort(first)


def draw_roles(
    count: int, rng: np.random.Generator, groups: Mapping[str, Role], swap: Mapping[str, str]
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """Role and split of each of the drawn images; most are filler of the training set."""
    chosen = rng.permutation(count)
    roles = np.full(count, "filler", dtype=object)
    splits = np.full(count, "train", dtype=object)
    start = 0
    for name, group in groups.items():
        members = chosen[start : start + group.items]
        roles[members] = swap.get(name, name)
        splits[members] = "test"
        splits[members[: group.items // 4]] = "dev"
        start += group.items
    return roles, splits


def _take(free: list[np.int64], classes: NDArray[np.int64], wanted: np.int64, count: int) -> NDArray[np.int64]:
    """The first free images of a class, which are free no more."""
    taken = [index for index in free if classes[index] == wanted][:count]
    free[:] = [index for index in free if index not in taken]
    return np.array(taken)


class TrainingSet:
    """Collects captions and images, or what images are drawn from, with their multiplicity."""

    def __init__(self) -> None:
        self.captions: list[str] = []
        self.images: list[NDArray[Any]] = []
        self.n_images = 0
        self.caption_of: list[NDArray[np.int64]] = []
        self.image_of: list[NDArray[np.int64]] = []

    def add(self, caption: str, images: NDArray[Any], copies: int) -> None:
        """Put images under a caption, each so many times."""
        indices = np.repeat(np.arange(self.n_images, self.n_images + len(images)), copies)
        self.image_of.append(indices)
        self.caption_of.append(np.full(len(indices), len(self.captions)))
        self.captions.append(caption)
        self.images.append(images)
        self.n_images += len(images)

    def finish(
        self,
        items: pd.DataFrame,
        item_images: NDArray[np.uint8],
        own_images: list[NDArray[np.uint8]],
        images: NDArray[np.uint8] | None = None,
    ) -> Planted:
        """The training set; ``images`` in the place of those that were collected, where they were not images yet."""
        return Planted(
            items=items,
            item_images=item_images,
            own_images=own_images,
            captions=self.captions,
            images=np.concatenate(self.images) if images is None else images,
            caption_of=np.concatenate(self.caption_of),
            image_of=np.concatenate(self.image_of),
        )


def _template_variants(reference: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Left half of the reference beside the right half of each other image."""
    variants = others.copy()
    variants[:, :, : reference.shape[1] // 2] = reference[:, : reference.shape[1] // 2]
    return variants


def _narrow_variants(reference: NDArray[np.uint8], count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Versions of one image, shifted by up to 3 pixels and dimmed to 60 to 100 %; no two alike."""
    variants: dict[bytes, NDArray[np.uint8]] = {}
    while len(variants) < count:
        down, right = rng.integers(-3, 4, size=2)
        shifted = np.roll(np.pad(reference, 3), (down, right), axis=(0, 1))[3:-3, 3:-3]
        image = np.round(shifted * rng.uniform(0.6, 1.0)).astype(np.uint8)
        variants[image.tobytes()] = image
    return np.stack(list(variants.values()))
