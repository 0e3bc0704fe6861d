"""Spread of the middle block's activation at low noise (Zhang et al., ICLR 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class BottleneckSpread(Detector):
    """Standard deviation over all units of the middle block's activation, at the generated image with little noise.

    No prompt is used: noise of time ``t`` is added to the image, which is the item's own or the end of the guided
    trajectory, and the null branch is evaluated there.

    Paper: Zhang et al., "Generalization of Diffusion Models Arises with a Balanced Representation Space", ICLR 2026,
    arXiv 2512.20963: a memorized sample is stored in few units, whose activation is much larger than that of the rest,
    while other samples have a balanced representation. Units are channels and pixels together. The standard deviation
    divides by the number of units. Noise is added to a latent as it was generated, without decoding and encoding it.

    Attributes:
        t: Timestep, any of the schedule.
    """

    info = DetectorInfo(
        name="zhang2026",
        title="standard deviation of the bottleneck activation at low noise",
        paper="zhang2026generalization",
        year=2026,
        version=2,
        access="activations",
        cost="2 T F + 1 F (no trajectory for images)",
        fidelity="faithful",
        headline=Headline("t=50", guidance=7.5, source="the generated image, re-noised"),
    )
    t: NonNegativeInt = 50

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        schedule = probe.model.schedule
        schedule.check(self.t)
        x = schedule.alpha(self.t) * probe.clean() + schedule.sigma(self.t) * probe.noise
        return probe.bottleneck(x, self.t, "null").double().flatten(1).std(dim=1, correction=0)
