"""Membership by the normalised prediction at the image itself (PIAN, Kong et al., ICLR 2024)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pydantic import NonNegativeInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class NormalisedProximalInitialization(Detector):
    """``-norm_4(n - e_c(a_t, t))`` with ``a_t = alpha_t x_0 + sigma_t n`` and ``n = sqrt(2 / pi) e / mean|e|``.

    e is the prediction ``e_c(x_0, 0)`` at the image. It takes the place of noise, so no noise is drawn. It is scaled to
    mean absolute value ``sqrt(2 / pi)``, that of standard normal noise, because the network was trained on such noise.

    Paper: Kong et al., "An Efficient Membership Inference Attack for the Diffusion Model by Proximal Initialization",
    ICLR 2024, arXiv 2305.18355, the variant PIAN. ``pia`` is the variant without the scaling.

    Attributes:
        t: Timestep, any of the schedule.
    """

    info = DetectorInfo(
        name="pian",
        title="as pia, but with the prediction at the image scaled to the size of noise",
        paper="kong2024efficient",
        year=2024,
        access="score",
        task="image",
        cost="2 F",
        seeded=False,
        fidelity="faithful",
        headline=Headline(source="the paper's t = 200 and 4-norm"),
    )
    t: NonNegativeInt = 200

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        _ = probe.images  # a prompt has none
        schedule = probe.model.schedule
        last = len(schedule.alphas) - 1
        if self.t > last:
            raise NotApplicableError(f"the schedule ends at timestep {last}, before {self.t}")
        image = probe.clean()
        first = probe.eps(image, 0, "cond")
        size = first.flatten(1).abs().mean(dim=1).view(-1, *[1] * (first.ndim - 1))
        normalised = first * (math.sqrt(2 / math.pi) / size)
        noisy = schedule.alpha(self.t) * image + schedule.sigma(self.t) * normalised
        change: Tensor = (normalised - probe.eps(noisy, self.t, "cond")).double().flatten(1).norm(p=4, dim=1)
        return -change
