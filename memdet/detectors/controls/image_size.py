"""Control: how well an image compresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ImageSize(Detector):
    """Minus the bytes of the image after compression: simple images are memorized more often."""

    info = DetectorInfo(
        name="image-size",
        title="minus the compressed size of the image",
        access="none",
        task="image",
        cost="none",
        seeded=False,
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import zlib

        import torch

        images = (probe.images.cpu().float() * 127.5 + 127.5).round().clamp(0, 255).byte().numpy()
        return torch.tensor([-len(zlib.compress(image.tobytes(), 9)) for image in images], dtype=torch.float64)
