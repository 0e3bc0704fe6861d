"""Oracle: distance of the generation to the nearest training image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class NearestNeighbour(Detector):
    """Minus the root mean square difference between the generation and the nearest training image.

    This is an oracle, which sees all training data. It shows what a detector without this knowledge could reach at
    best. Images are decoded, in [0, 1]. In the task ``image`` the item itself takes the place of the generation.
    """

    info = DetectorInfo(
        name="nearest-neighbour",
        title="minus the distance of the generation to the nearest training image (oracle)",
        access="training-data",
        cost="2 T F (1 F less with shared noise)",
        version=2,
        fidelity="ours",
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        return -probe.nearest_training(1)[0][:, 0]
