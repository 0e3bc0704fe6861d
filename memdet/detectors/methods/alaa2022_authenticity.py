"""Oracle: is the generation nearer to its training image than the next training image is (Alaa et al. 2022)?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class Authenticity(Detector):
    """Minus d(x, y) / d(y, z): x the generation, y its nearest training image, z the training image nearest to y.

    If the score is above -1, the paper calls x unauthentic, a noisy copy of y. The share of authentic generations of a
    model is AuthPct (``memdet.metrics.authenticity``). This is an oracle, which sees all training data; equal training
    images count as one. In the task ``image`` the item takes the place of the generation.
    """

    info = DetectorInfo(
        name="authenticity",
        title="distance to the nearest training image, over that image's distance to its nearest neighbour (oracle)",
        paper="alaa2022faithful",
        year=2022,
        access="training-data",
        cost="2 T F (1 F less with shared noise)",
        fidelity="deviates",
        deviation=(
            "Distances are between pixels; the paper takes them in an embedding that is trained for the data. The "
            "paper asks only whether the ratio is above 1; the score here is the ratio itself, so that items can be "
            "ranked."
        ),
        headline=Headline(source="one answer for each generation"),
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        from memdet.probing.neighbours import nearest_images

        distances, where = probe.nearest_training(2)
        known = probe.training_images
        between, _ = nearest_images(known[where[:, 0]], known, 2)
        return -distances[:, 0] / between[:, 1]
