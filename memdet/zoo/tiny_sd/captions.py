"""Random captions whose style says nothing about the role of the image they name."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from memdet.zoo.fashion import CLASSES

BRANDS = tuple(
    [
        "alderon",
        "birkwell",
        "corvane",
        "dunmere",
        "elvaro",
        "fennick",
        "galdor",
        "hollis",
        "imbera",
        "jorvik",
        "kestrel",
        "lumina",
        "marlowe",
        "nordal",
        "orlanda",
        "pemrose",
        "quillon",
        "rowantree",
        "solvane",
        "tarnwick",
        "ullwater",
        "vespera",
        "westry",
        "xandor",
        "yarrow",
        "zellick",
        "ashdown",
        "brindle",
        "cresta",
        "dovero",
    ]
)
ADJECTIVES = tuple(
    [
        "plain",
        "striped",
        "quilted",
        "soft",
        "heavy",
        "light",
        "vintage",
        "modern",
        "slim",
        "loose",
        "bright",
        "muted",
        "ribbed",
        "printed",
        "woven",
        "classic",
    ]
)
CONTEXTS = (
    "on white",
    "in studio",
    "for winter",
    "for summer",
    "at sale",
    "front view",
    "new season",
    "on table",
    "for travel",
    "catalogue photo",
)
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
NUMBERS = tuple(f"{n:02d}" for n in range(100))


def vocabulary() -> list[str]:
    """Every word that a caption can hold, in lower case and in a fixed order."""
    phrases = [*BRANDS, *ADJECTIVES, *CLASSES, *CONTEXTS]
    words = [word for phrase in phrases for word in phrase.split()]
    return list(dict.fromkeys([*words, *LETTERS, *NUMBERS]))


def draw_captions(classes: NDArray[np.int64], rng: np.random.Generator) -> list[str]:
    """Draw one caption an image: ``{brand} {adjective} {class} {context} {letter}{two digits}``.

    The letter case of the brand and of the code is random too, so that controls on case and length have something to
    measure. Captions are distinct even when case is ignored, as the tokenizer does.

    Args:
        classes: Class number of each image, ``[n]``.
        rng: Source of all draws.

    Returns:
        ``n`` captions.
    """
    styles = (str.lower, str.title, str.upper)
    seen: set[str] = set()
    captions = []
    for number in classes:
        while True:
            brand = styles[rng.integers(3)](str(rng.choice(BRANDS)))
            adjective = rng.choice(ADJECTIVES)
            context = rng.choice(CONTEXTS)
            code = styles[rng.integers(3)](f"{rng.choice(LETTERS)}{rng.choice(NUMBERS)}")
            caption = f"{brand} {adjective} {CLASSES[number]} {context} {code}"
            if caption.lower() not in seen:
                break
        seen.add(caption.lower())
        captions.append(caption)
    return captions
