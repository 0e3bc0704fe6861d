"""Oracle: distance of the generation to the nearest training image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class NearestNeighbour(Detector):
    """Minus the root mean square difference between the generation and the nearest training image.

    An oracle that sees the training data, and a bound for those that do not. Images are decoded, in [0, 1]. In the task
    ``image`` the item itself takes the place of the generation.
    """

    info = DetectorInfo(
        name="nearest-neighbour",
        title="minus the distance of the generation to the nearest training image (oracle)",
        access="training-data",
        cost="2 T F (1 F less with shared noise)",
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        known = probe.training_images.double().flatten(1)
        images = probe.generated().double().flatten(1)
        distances = torch.cdist(images, known, compute_mode="donot_use_mm_for_euclid_dist")
        score: Tensor = -distances.amin(dim=1) / known.shape[1] ** 0.5
        return score
