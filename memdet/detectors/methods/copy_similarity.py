"""Oracle: similarity of the generation to the most similar training image (SSCD)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe

_CHUNK = 4_096  # training images at once


class CopySimilarity(Detector):
    """Cosine of the embeddings of the generation and of the most similar training image.

    This is an oracle, which sees all training data. ``sscd`` is the copy detector by which many papers label prompts as
    memorized (Pizzi et al., "A Self-Supervised Descriptor for Image Copy Detection", CVPR 2022, arXiv 2202.10261), see
    :mod:`memdet.models.sscd`. On the first use it embeds every training image of a model, at some 20 ms each, and keeps
    the embeddings in the user's cache. Papers call a cosine above .7 a copy. This does not hold for small pictures of
    few kinds, where different pictures resemble each other; ``thresholds`` gives both .7 and a threshold from the
    training images. In the task ``image`` the item itself takes the place of the generation.

    Attributes:
        embedding: ``sscd``, which needs the extra ``sscd``, or ``pixel``: the pixels minus their mean.
    """

    info = DetectorInfo(
        name="copy-similarity",
        title="SSCD cosine of the generation and the most similar training image (oracle)",
        paper="pizzi2022self",
        year=2022,
        access="training-data",
        cost="2 T F (1 F less with shared noise)",
        version=2,
        fidelity="derived",
    )
    embedding: Literal["sscd", "pixel"] = "sscd"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        generated, known = probe.generated(), probe.training_images
        if self.embedding == "sscd":
            from memdet.models.sscd import sscd, sscd_of_many

            embedded = sscd_of_many(known).to(known.device)
            return (sscd(generated) @ embedded.T).amax(dim=1)
        shown = _less_mean(generated)
        nearest = [(shown @ _less_mean(part).T).amax(dim=1) for part in torch.split(known, _CHUNK)]
        return torch.stack(nearest).amax(dim=0)

    def thresholds(self, probe: Probe) -> dict[str, float]:
        """SSCD cosines above which a generation is a copy: ``published`` and ``calibrated``.

        Raises:
            NotApplicableError: The training images are not known, or the extra is not installed.
        """
        from memdet.models.sscd import PUBLISHED_THRESHOLD, sscd_threshold

        return {"published": PUBLISHED_THRESHOLD, "calibrated": sscd_threshold(probe.training_images)}


def _less_mean(images: Tensor) -> Tensor:
    """Pixels less their mean as unit vectors, ``[n, d]`` float64."""
    from torch.nn.functional import normalize

    pixels = images.double().flatten(1)
    return normalize(pixels - pixels.mean(dim=1, keepdim=True))
