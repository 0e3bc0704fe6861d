"""The classes of Fashion-MNIST, as captions of the planted models name them. Imports no torch."""

from __future__ import annotations

import re

CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
"""In the order of their numbers."""
_NAMED = re.compile(rf"(?<![\w-])({'|'.join(sorted(map(re.escape, CLASSES), key=len, reverse=True))})(?![\w-])")


def garment_of(caption: str) -> str | None:
    """The class that a caption names as a word of its own; None where it names none or several.

    Example:
        >>> garment_of("Alderon plain T-Shirt on white a42"), garment_of("Dovero soft ankle boot for winter B07")
        ('t-shirt', 'ankle boot')
        >>> garment_of("label-003") is None
        True
    """
    found = set(_NAMED.findall(caption.lower()))
    return found.pop() if len(found) == 1 else None
