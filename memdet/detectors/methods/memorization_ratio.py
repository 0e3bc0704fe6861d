"""Oracle: how much nearer than all others the nearest training image is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class MemorizationRatio(Detector):
    """Minus d_1 / d_2, the distances of the generation to the nearest and second nearest training images.

    If the score is above -1/3, the paper calls the generation memorized. This is an oracle, which sees all training
    data; equal training images count as one, so the second nearest is never a copy of the nearest. If a caption has
    many similar images, all of them are about equally near, and the ratio is about 1, however close the generation
    comes. In the task ``image`` the item takes the place of the generation.
    """

    info = DetectorInfo(
        name="memorization-ratio",
        title="distance to the nearest training image over that to the second nearest (oracle)",
        paper="yoon2023diffusion",
        year=2023,
        access="training-data",
        cost="2 T F (1 F less with shared noise)",
        fidelity="faithful",
        headline=Headline(source="the paper counts unconditional generations below 1/3, one of each noise"),
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        distances, _ = probe.nearest_training(2)
        return -distances[:, 0] / distances[:, 1]
