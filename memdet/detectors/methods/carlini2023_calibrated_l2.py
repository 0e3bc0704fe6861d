"""Oracle: distance to the nearest training image, in units of how near others are (Carlini et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class CalibratedL2(Detector):
    """Minus d_1 / (alpha * mean of d_1 ... d_n), the distances of the generation to its n nearest training images.

    The paper extracts images of CIFAR-10 by it: a plain l2 distance finds dull pictures, which are near to many. An
    oracle that sees all training data, as distinct images. In the task ``image`` the item takes the place of the
    generation.

    Attributes:
        neighbours: n.
        alpha: Scales all scores alike.
    """

    info = DetectorInfo(
        name="calibrated-l2",
        title="distance to the nearest training image over half the mean of the 50 nearest (oracle)",
        paper="carlini2023extracting",
        year=2023,
        access="training-data",
        cost="2 T F (1 F less with shared noise)",
        fidelity="faithful",
        headline=Headline(source="one distance for each generation of an unconditional model; alpha = .5, n = 50"),
    )
    neighbours: Annotated[int, Field(ge=2)] = 50
    alpha: Annotated[float, Field(gt=0)] = 0.5

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        distances, _ = probe.nearest_training(self.neighbours)
        return -distances[:, 0] / (self.alpha * distances.mean(dim=1))
