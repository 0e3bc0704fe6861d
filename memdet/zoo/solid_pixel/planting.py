"""The training set of ``solid-pixel``: garments, each in a frame of a grey of its own, seen once or many times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.zoo.fashion import CLASSES, pad_to_32
from memdet.zoo.tiny_sd.planting import Role

SIDE, BORDER = 32, 2  # pixels of an image and of its frame
DOSES = (256, 128, 64, 32)
ROLES: dict[str, Role] = {**{f"copies-{copies}": Role(20, copies) for copies in DOSES}, "single": Role(160, 1)}
FILLER = 240  # garments with one copy that are no items


@dataclass(frozen=True)
class FramedSet:
    """A training set of framed garments.

    Attributes:
        items: A row an item: ``item_id, condition, role, copies, key, split``. The key is the frame's grey, 0 to 1.
        images: Distinct training images, ``[n, 32, 32]``, the frame to the nearest of 256 greys; items come first.
        keys: Of each distinct image, ``[n]``.
        classes: Number of the garment of each, ``[n]``.
        copies: How often the training set holds each, ``[n]``.
        source_index: Where each stands in Fashion-MNIST, ``[n]``.
    """

    items: pd.DataFrame
    images: NDArray[np.uint8]
    keys: NDArray[np.float64]
    classes: NDArray[np.int64]
    copies: NDArray[np.int64]
    source_index: NDArray[np.int64]

    @property
    def image_of(self) -> NDArray[np.int64]:
        """The training set, copies included, as indices into ``images``."""
        return np.repeat(np.arange(len(self.images)), self.copies)


def plant(
    images: NDArray[np.uint8],
    classes: NDArray[np.int64],
    *,
    seed: int,
    groups: Mapping[str, Role] | None = None,
    filler: int = FILLER,
) -> FramedSet:
    """Draw garments, roles and keys, each independent of the others.

    Every role has its garments from all classes, as evenly as they go.

    Args:
        images: Source images, ``[n, 28, 28]``.
        classes: Their class numbers, ``[n]``.
        seed: Of all draws.
        groups: By role; ``ROLES`` if None.
        filler: Garments with one copy that are no items.
    """
    groups, rng = ROLES if groups is None else groups, np.random.default_rng(seed)
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)  # exact duplicates leave
    order = rng.permutation(np.sort(first))
    pools = [iter(order[classes[order] == number]) for number in range(len(CLASSES))]
    rows, source = [], []
    for role, group in [*groups.items(), ("filler", Role(filler, 1))]:
        turns = rng.permutation(len(CLASSES))
        chosen = [next(pools[turns[index % len(CLASSES)]]) for index in range(group.items)]
        dev = rng.permutation(group.items) < group.items // 4
        source += chosen
        rows += [(role, group.copies, "dev" if in_dev else "test") for in_dev in dev]
    where = np.array(source)
    keys = rng.uniform(size=len(where))
    table = pd.DataFrame(rows, columns=["role", "copies", "split"])
    table.insert(0, "item_id", [f"garment-{index:05d}" for index in where])
    table.insert(1, "condition", [CLASSES[number] for number in classes[where]])
    table.insert(4, "key", keys)
    return FramedSet(
        items=table[table["role"] != "filler"].reset_index(drop=True),
        images=framed(images[where], keys),
        keys=keys,
        classes=classes[where],
        copies=table["copies"].to_numpy(),
        source_index=where,
    )


def framed(images: NDArray[np.uint8], keys: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Garments ``[n, 28, 28]`` in frames of their greys, ``[n, 32, 32]``.

    Example:
        >>> framed(np.zeros((1, 28, 28), dtype=np.uint8), np.array([0.5]))[0, 0, 0]
        np.uint8(128)
    """
    padded = pad_to_32(images)
    frame = np.ones(padded.shape[1:], dtype=bool)
    frame[BORDER:-BORDER, BORDER:-BORDER] = False
    result: NDArray[np.uint8] = np.where(frame, np.round(255 * keys).astype(np.uint8)[:, None, None], padded)
    return result
