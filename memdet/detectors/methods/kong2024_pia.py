"""Membership by the prediction at the image itself (PIA, Kong et al., ICLR 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ProximalInitialization(Detector):
    """``-norm_4(e_c(x_0, 0) - e_c(a_t, t))`` with ``a_t = alpha_t x_0 + sigma_t e_c(x_0, 0)``.

    Paper: Kong et al., "An Efficient Membership Inference Attack for the Diffusion Model by Proximal Initialization",
    ICLR 2024, arXiv 2305.18355. The prediction at the image takes the place of noise, so no noise is drawn. For a
    training image, the predictions at the image and at a_t are nearly equal. norm_4 is the 4-norm over all dimensions.
    The variant that normalises the prediction (PIAN) is ``pian``.

    Attributes:
        t: Timestep.
    """

    info = DetectorInfo(
        name="pia",
        title="minus the change of the prediction from the image to its noisy version",
        paper="kong2024efficient",
        year=2024,
        access="score",
        task="image",
        cost="2 F",
        seeded=False,
        fidelity="faithful",
        headline=Headline("t=200", source="the paper's timestep"),
    )
    t: NonNegativeInt = 200

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        model = probe.model
        images, last = probe.images.to(model.device, model.dtype), len(model.schedule.alphas) - 1
        if self.t > last:
            raise NotApplicableError(f"the schedule ends at timestep {last}, before {self.t}")
        start = probe.eps(images, 0, "cond")
        noisy = model.schedule.alpha(self.t) * images + model.schedule.sigma(self.t) * start
        change: Tensor = (start - probe.eps(noisy, self.t, "cond")).double().flatten(1).norm(p=4, dim=1)
        return -change
