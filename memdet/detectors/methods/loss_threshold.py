"""Membership by the denoising loss (Matsumoto et al. 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class LossThreshold(Detector):
    """``-mean (e_c(x_t, t) - eps)^2`` with ``x_t = alpha_t x_0 + sigma_t eps`` and eps the noise of the seed.

    Paper: Matsumoto, Miura, Yanai, "Membership Inference Attacks against Diffusion Models", 2023, arXiv 2302.03262,
    after the loss attack of Yeom et al. 2018: training images have a small loss.

    Attributes:
        t: Timestep; the nearest of the protocol's trajectory is taken.
    """

    info = DetectorInfo(
        name="loss-threshold",
        title="minus the denoising loss of the image",
        paper="matsumoto2023membership",
        year=2023,
        access="score",
        task="image",
        cost="1 F",
        fidelity="faithful",
        headline=Headline("t=200", source="one timestep; which one is memdet's choice"),
    )
    t: int = 200

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        _ = probe.images  # a prompt has none, and no loss
        x, t = probe.at(self.t)
        error = (probe.eps(x, t, "cond") - probe.noise).double()
        return -error.flatten(1).square().mean(dim=1)
