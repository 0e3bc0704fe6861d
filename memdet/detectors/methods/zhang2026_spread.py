"""Spread of the middle block's activation at low noise (Zhang et al., ICLR 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class BottleneckSpread(Detector):
    """Standard deviation over all units of the middle block's activation, at a low noise level.

    Paper: Zhang et al., "Generalization of Diffusion Models Arises with a Balanced Representation Space", ICLR 2026,
    arXiv 2512.20963: a memorized sample is stored in few units, whose activation stands out, while others have a
    balanced representation. Units are channels and pixels together, and the deviation is that of the population.

    Attributes:
        t: Timestep, the nearest of the trajectory: of the item's image with noise in the task ``image``, else on the
            unguided conditional trajectory.
        branch: Of the model.
    """

    info = DetectorInfo(
        name="zhang2026",
        title="standard deviation of the bottleneck activation at low noise",
        paper="zhang2026generalization",
        year=2026,
        access="activations",
        cost="1 F + to_t F (1 F for images)",
    )
    t: int = 50
    branch: Literal["cond", "null"] = "cond"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        x, t = probe.at(self.t)
        return probe.bottleneck(x, t, self.branch).double().flatten(1).std(dim=1, correction=0)
