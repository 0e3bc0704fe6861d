"""Training sets of the class-conditional pixel models: who is under which label, and how often, is drawn at random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.zoo.fashion import CLASSES, pad_to_32

SIZE = 16  # of the images, in pixels
UNUSED = 1_500  # images a garment class that no label holds


@dataclass(frozen=True)
class Group:
    """A planted group of labels.

    Attributes:
        labels: How many.
        variants: Distinct images under each label.
        copies: How often the training set holds each of them.
        garment: The one garment class of the group; None spreads the labels evenly over all.
    """

    labels: int
    variants: int
    copies: int
    garment: str | None = None


@dataclass(frozen=True)
class PixelSet:
    """The training set of a pixel model.

    Attributes:
        items: A row a label, in the order of the class numbers: ``item_id, condition, role, copies, variants, garment,
            split``.
        images: Distinct training images, ``[n_images, 16, 16]``.
        label_of: Class number of each distinct image, ``[n_images]``.
        source_index: Where each distinct image stands in Fashion-MNIST, ``[n_images]``.
        image_of: The training set, copies included, as indices into ``images``.
        unused: Images that were never trained on, ``[1500, 16, 16]`` for each garment class that a label has.
    """

    items: pd.DataFrame
    images: NDArray[np.uint8]
    label_of: NDArray[np.int64]
    source_index: NDArray[np.int64]
    image_of: NDArray[np.int64]
    unused: dict[str, NDArray[np.uint8]]

    def of_label(self, label: int) -> NDArray[np.uint8]:
        """Distinct training images of a label, ``[variants, 16, 16]``."""
        chosen: NDArray[np.uint8] = self.images[self.label_of == label]
        return chosen


def draw(
    images: NDArray[np.uint8],
    classes: NDArray[np.int64],
    groups: Mapping[str, Group],
    *,
    seed: int,
    named_by_garment: bool = False,
) -> PixelSet:
    """Draw labels and their images. No image is under two labels, and none of those kept unused is under any.

    Args:
        images: Source images, ``[n, 28, 28]``.
        classes: Their class numbers, ``[n]``.
        groups: By role.
        seed: Of all draws.
        named_by_garment: Whether a label is called after its garment, or ``label-000`` and so on in random order.

    Returns:
        The training set.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for role, group in groups.items():
        dev = rng.permutation(group.labels) < group.labels // 4
        for garment, in_dev in zip(_garments(group, rng), dev, strict=True):
            rows.append((role, group.copies, group.variants, garment, "dev" if in_dev else "test"))
    items = pd.DataFrame(rows, columns=["role", "copies", "variants", "garment", "split"])
    items = items.iloc[rng.permutation(len(items))].reset_index(drop=True)
    names = list(items["garment"]) if named_by_garment else [f"label-{index:03d}" for index in range(len(items))]
    items.insert(0, "item_id", names)
    items.insert(1, "condition", names)

    small = shrink(images)
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)  # exact duplicates leave
    order = rng.permutation(np.sort(first))
    unused, chosen = {}, []
    spare = {garment: order[classes[order] == CLASSES.index(garment)] for garment in sorted(set(items["garment"]))}
    for garment, pool in spare.items():
        unused[garment], spare[garment] = small[pool[:UNUSED]], pool[UNUSED:]
    for garment, variants in zip(items["garment"], items["variants"], strict=True):
        pool = spare[garment]
        if len(pool) < variants:
            raise ValueError(f"{len(pool)} images of class {garment} are left for a label of {variants}")
        chosen.append(pool[:variants])
        spare[garment] = pool[variants:]
    source = np.concatenate(chosen)
    label_of = np.repeat(np.arange(len(items)), items["variants"])
    return PixelSet(
        items=items,
        images=small[source],
        label_of=label_of,
        source_index=source,
        image_of=np.repeat(np.arange(len(source)), items["copies"].to_numpy()[label_of]),
        unused=unused,
    )


def shrink(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad ``[n, 28, 28]`` images to 32 x 32 and halve them: the mean of each 2 x 2 block, ``[n, 16, 16]``."""
    padded = pad_to_32(images).astype(np.uint16)
    blocks = padded[:, ::2, ::2] + padded[:, 1::2, ::2] + padded[:, ::2, 1::2] + padded[:, 1::2, 1::2]
    return ((blocks + 2) // 4).astype(np.uint8)


def _garments(group: Group, rng: np.random.Generator) -> list[str]:
    """Garment class of each label of a group."""
    if group.garment is not None:
        return [group.garment] * group.labels
    order = rng.permutation(len(CLASSES))
    return [CLASSES[order[index % len(CLASSES)]] for index in range(group.labels)]
