"""Oracle: similarity of the generation to the most similar training image (SSCD)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class CopySimilarity(Detector):
    """Cosine of the embeddings of the generation and of the most similar training image.

    An oracle that sees the training data. ``sscd`` is the copy detector that the field labels memorized prompts with
    (Pizzi et al., "A Self-Supervised Descriptor for Image Copy Detection", CVPR 2022, arXiv 2202.10261), see
    :mod:`memdet.models.sscd`. The rule that a cosine above .7 is a copy does not carry over to small pictures of few
    kinds, of which different ones are alike: :meth:`thresholds` gives it and one from the training images. In the task
    ``image`` the item itself takes the place of the generation.

    Attributes:
        embedding: ``sscd``, which takes the extra ``sscd``, or ``pixel``: the pixels themselves, less their mean.
    """

    info = DetectorInfo(
        name="copy-similarity",
        title="SSCD cosine of the generation and the most similar training image (oracle)",
        paper="pizzi2022self",
        year=2022,
        access="training-data",
        cost="2 T F (1 F less with shared noise)",
    )
    embedding: Literal["sscd", "pixel"] = "sscd"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        known = self._embed(probe.training_images)
        return (self._embed(probe.generated()) @ known.T).amax(dim=1)

    def thresholds(self, probe: Probe) -> dict[str, float]:
        """SSCD cosines above which a generation is a copy: ``published`` and ``calibrated``.

        Raises:
            NotApplicableError: No training images are known, or the extra is not installed.
        """
        from memdet.models.sscd import PUBLISHED_THRESHOLD, sscd_threshold

        return {"published": PUBLISHED_THRESHOLD, "calibrated": sscd_threshold(probe.training_images)}

    def _embed(self, images: Tensor) -> Tensor:
        """Unit vectors, ``[n, d]``."""
        from torch.nn.functional import normalize

        if self.embedding == "sscd":
            from memdet.models.sscd import sscd

            return sscd(images)
        pixels = images.double().flatten(1)
        return normalize(pixels - pixels.mean(dim=1, keepdim=True))
