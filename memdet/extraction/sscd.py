"""SSCD as a second opinion, where it can tell the training images from each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from memdet.errors import NotApplicableError
from memdet.extraction.training_images import Pixels

PUBLISHED_THRESHOLD = 0.7  # as memdet.models.sscd has it, which loads torch
SELDOM = 0.99
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sscd:
    """Whether the published rule, a cosine above .7 is a copy, means something for these images.

    Attributes:
        status: ``valid``; ``not valid`` where pictures that are no copies pass for such; ``not installed``.
        threshold: The published one.
        among: Cosine with the most similar other training image that one in a hundred exceeds; None if unknown.
        of_reference: The same of generations of reference prompts with the training images; None without any.
        reason: Why it is not installed.
    """

    status: Literal["valid", "not valid", "not installed"]
    threshold: float = PUBLISHED_THRESHOLD
    among: float | None = None
    of_reference: float | None = None
    reason: str = ""


class Embedded:
    """SSCD embeddings of the training images, taken while these are read."""

    def __init__(self) -> None:
        self._parts: list[Floats] = []
        self._missing = ""

    def add(self, images: Sequence[Pixels]) -> None:
        """Embed some more training images; nothing where SSCD is not installed."""
        if self._missing:
            return
        try:
            self._parts.append(self.of(images, kept=True))
        except NotApplicableError as error:
            self._missing = str(error)

    @staticmethod
    def of(images: Sequence[Pixels], *, kept: bool = False) -> Floats:
        """Embeddings of images, ``[n, 512]``.

        Args:
            images: ``[channels, height, width]`` each, of one size.
            kept: In the user's cache, as of images that come again.

        Raises:
            NotApplicableError: SSCD is not installed.
        """
        import torch

        from memdet.models.sscd import sscd, sscd_of_many

        embed = sscd_of_many if kept else sscd
        found: Floats = embed(torch.from_numpy(np.stack(images)).float() / 255).numpy()
        return found

    def judged(self) -> Sscd:
        """Validity by the training images alone."""
        if self._missing:
            return Sscd("not installed", reason=self._missing)
        known = np.concatenate(self._parts)
        nearest = []
        for start in range(0, len(known), 1_000):
            cosines = known[start : start + 1_000] @ known.T
            rows = np.arange(len(cosines))
            cosines[rows, start + rows] = -1
            nearest.append(cosines.max(axis=1))
        among = float(np.quantile(np.concatenate(nearest), SELDOM))
        return Sscd("valid" if among <= PUBLISHED_THRESHOLD else "not valid", among=among)

    def most_similar(self, images: Sequence[Pixels]) -> tuple[Floats, NDArray[np.int64]]:
        """Cosine of each image with its most similar training image, and which that is."""
        cosines = self.of(images) @ np.concatenate(self._parts).T
        where = cosines.argmax(axis=1)
        return cosines[np.arange(len(where)), where], where.astype(np.int64)


def with_reference(sscd: Sscd, cosines: Sequence[float]) -> Sscd:
    """The judgement after generations of reference prompts were compared too."""
    if not cosines:
        return sscd
    found = float(np.quantile(cosines, SELDOM))
    valid = sscd.status == "valid" and found <= sscd.threshold
    return Sscd("valid" if valid else "not valid", sscd.threshold, sscd.among, found)
