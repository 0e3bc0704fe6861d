"""Control: norm of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ImageNorm(Detector):
    """Euclidean norm of the image, in the units that the model generates in."""

    info = DetectorInfo(
        name="image-norm", title="norm of the image", access="none", task="image", cost="none", seeded=False
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        norm: Tensor = probe.images.double().flatten(1).norm(dim=1)
        return norm
