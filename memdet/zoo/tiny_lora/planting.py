"""What the fine-tunes are trained on: garments that their base never saw, and which of them are repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.zoo.fashion import CLASSES, pad_to_32
from memdet.zoo.tiny_sd.captions import CONTEXTS, draw_captions
from memdet.zoo.tiny_sd.planting import Planted, Role, TrainingSet, draw_roles

DATA_SEED = 20261208  # captions and images are drawn with it, whatever the roles
UNUSED = 500  # images a garment class that neither the base nor the fine-tune was trained on
RARE_WORD = "sks"  # as DreamBooth's authors write it; the base's tokenizer does not know it

REPEATED: dict[str, Role] = {"repeated": Role(20, 50), "once": Role(20, 1), "unseen": Role(60, 0)}
SUBJECTS: dict[str, Role] = {"few": Role(5, 100, variants=5), "many": Role(5, 1, variants=500)}
EXCHANGED = {"repeated": "once", "once": "repeated", "few": "many", "many": "few"}


@dataclass(frozen=True)
class FreshGarments:
    """What a base was not trained on.

    Attributes:
        images: ``[n, 32, 32]``, in random order.
        garments: Class of each, ``[n]``.
        captions: Those of the base, trained or not, in lower case.
    """

    images: NDArray[np.uint8]
    garments: NDArray[np.object_]
    captions: frozenset[str]


@dataclass(frozen=True)
class FineTune:
    """The training set of a fine-tune, and what its generations are held against.

    Attributes:
        planted: Items, captions and images; ``item_id, prompt, garment, role, copies, variants, split, cluster`` of
            each item. An item of a garment's subject has the images of the garment's one training caption.
        unused: Images that were never trained on, ``[UNUSED, 32, 32]`` for each garment of an item.
    """

    planted: Planted
    unused: dict[str, NDArray[np.uint8]]


def fresh_garments(
    images: NDArray[np.uint8], classes: NDArray[np.int64], trained: NDArray[np.uint8], captions: Sequence[str]
) -> FreshGarments:
    """Garments that a base was not trained on, in random order, each once.

    A garment is left out where a training image has its right half, as the variants of templates have.

    Args:
        images: Source images, ``[n, 28, 28]``.
        classes: Their class numbers, ``[n]``.
        trained: Training images of the base, ``[k, 32, 32]``.
        captions: Of the base.
    """
    padded, half = pad_to_32(images), 16
    known = {image.tobytes() for image in np.ascontiguousarray(trained[:, :, half:])}
    right = np.ascontiguousarray(padded[:, :, half:])
    first: dict[bytes, int] = {}
    for index, image in enumerate(right):
        first.setdefault(image.tobytes(), index)
    free = np.array([index for key, index in first.items() if key not in known], dtype=np.int64)
    order = np.random.default_rng(DATA_SEED).permutation(free)
    garments = np.array(CLASSES, dtype=object)[classes[order]]
    return FreshGarments(padded[order], garments, frozenset(caption.lower() for caption in captions))


def plant_captions(
    fresh: FreshGarments, *, seed: int, exchanged: bool = False, groups: Mapping[str, Role] | None = None
) -> FineTune:
    """New captions, each of one new image, of which a random half is repeated.

    Args:
        fresh: What the base does not know.
        seed: Decides the roles, and nothing else.
        exchanged: Whether what would be repeated is seen once, and the other way round.
        groups: Drawn at random; ``REPEATED`` if None.

    Returns:
        The training set.
    """
    groups = REPEATED if groups is None else groups
    count, rng = sum(group.items for group in groups.values()), np.random.default_rng([DATA_SEED, 0])
    prompts = _new_captions(fresh.garments[:count], set(fresh.captions), rng)
    roles, splits = draw_roles(count, np.random.default_rng(seed), groups, EXCHANGED if exchanged else {})
    builder = TrainingSet()
    for prompt, image, role in zip(prompts, fresh.images, roles, strict=False):
        if groups[role].copies:
            builder.add(prompt, image[None], groups[role].copies)
    items = pd.DataFrame(
        {
            "item_id": [f"lora-{index:03d}" for index in range(count)],
            "prompt": prompts,
            "garment": fresh.garments[:count].astype(str),
            "role": roles.astype(str),
            "copies": [groups[role].copies for role in roles],
            "variants": 1,
            "split": splits.astype(str),
            "cluster": [f"lora-{index:03d}" for index in range(count)],
        }
    )
    references = fresh.images[:count]
    planted = builder.finish(items, references, [reference[None] for reference in references])
    return FineTune(planted, _unused(fresh, count, set(items["garment"])))


def plant_subjects(
    fresh: FreshGarments, *, seed: int, exchanged: bool = False, groups: Mapping[str, Role] | None = None
) -> FineTune:
    """A rare word before the name of each garment: for a random half of them five images, for the others many.

    Every caption is seen equally often. Items are the training caption and, as nobody trained them, the same with each
    of the ten contexts that the base knows.

    Args:
        fresh: What the base does not know.
        seed: Decides the roles, and nothing else.
        exchanged: Whether garments of few images have many, and the other way round.
        groups: Drawn at random over the garments; ``SUBJECTS`` if None.

    Returns:
        The training set.
    """
    groups = SUBJECTS if groups is None else groups
    most = max(group.variants for group in groups.values())
    roles, splits = draw_roles(len(CLASSES), np.random.default_rng(seed), groups, EXCHANGED if exchanged else {})
    builder, rows, references, own, used = TrainingSet(), [], [], [], 0
    for number, (garment, role, split) in enumerate(zip(CLASSES, roles, splits, strict=True)):
        places = np.flatnonzero(fresh.garments == garment)[:most]
        used = max(used, int(places[-1]) + 1)
        group, caption = groups[role], f"{RARE_WORD} {garment}"
        variants = fresh.images[places[: group.variants]]
        builder.add(caption, variants, group.copies)
        for index, context in enumerate(["", *CONTEXTS]):
            prompt, item = f"{caption} {context}".strip(), f"word-{number}-{index:02d}"
            rows.append((item, prompt, garment, role, group.copies, group.variants, split, garment))
            references.append(variants[0])
            own.append(variants)
    names = ["item_id", "prompt", "garment", "role", "copies", "variants", "split", "cluster"]
    planted = builder.finish(pd.DataFrame(rows, columns=names), np.stack(references), own)
    return FineTune(planted, _unused(fresh, used, set(CLASSES)))


def _new_captions(garments: NDArray[np.object_], taken: set[str], rng: np.random.Generator) -> list[str]:
    """A caption of the base's kind for each garment, none of which is taken."""
    captions: list[str] = []
    while len(captions) < len(garments):
        number = np.array([CLASSES.index(garments[len(captions)])])
        (caption,) = draw_captions(number, rng)
        if caption.lower() not in taken:
            taken.add(caption.lower())
            captions.append(caption)
    return captions


def _unused(fresh: FreshGarments, used: int, garments: set[str]) -> dict[str, NDArray[np.uint8]]:
    """Images after those that were used, of each garment.

    Raises:
        ValueError: There are too few.
    """
    found = {}
    for garment in sorted(garments):
        found[garment] = fresh.images[used:][fresh.garments[used:] == garment][:UNUSED]
        if len(found[garment]) < UNUSED:
            raise ValueError(f"{len(found[garment])} images of class {garment} are left, {UNUSED} are asked for")
    return found
