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

    The paper extracts images of CIFAR-10 with it. A plain l2 distance would mostly find pictures with little content,
    because these are near to many others; the division corrects this. This is an oracle, which sees all training data;
    equal training images count as one. In the task ``image`` the item takes the place of the generation.

    Attributes:
        neighbours: n, the number of nearest training images.
        alpha: Multiplies all scores by the same factor, and so changes no ranking.
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
