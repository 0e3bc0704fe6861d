"""Membership by the length of the prediction at the clean image (SimA, Rao, Qu, Moyer 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class PredictionNorm(Detector):
    """``-norm_4(e_c(x_0, t))``: the network is shown the clean image at t, without noise and not scaled.

    Paper: Rao, Qu, Moyer, "Score-based Membership Inference on Diffusion Models", 2025, arXiv 2509.25003: the
    prediction points from the image to a local mean of training images; for a training image this mean is the image
    itself. norm_4 is the 4-norm over all dimensions, the paper's choice. No noise is drawn. The paper does not fix a
    timestep: it reports the best of 0 to 300, chosen with the labels of the test data. Here the timestep is fixed
    beforehand.

    Attributes:
        t: Timestep, any of the schedule.
    """

    info = DetectorInfo(
        name="sima",
        title="minus the 4-norm of the prediction at the clean image",
        paper="rao2025score",
        year=2025,
        access="score",
        task="image",
        cost="1 F",
        seeded=False,
        fidelity="faithful",
        headline=Headline(source="Tables 1 and 2, at the best timestep of 0 to 300 by the labels of the test"),
    )
    t: NonNegativeInt = 100

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        _ = probe.images  # a prompt has none
        last = len(probe.model.schedule.alphas) - 1
        if self.t > last:
            raise NotApplicableError(f"the schedule ends at timestep {last}, before {self.t}")
        length: Tensor = probe.eps(probe.clean(), self.t, "cond").double().flatten(1).norm(p=4, dim=1)
        return -length
