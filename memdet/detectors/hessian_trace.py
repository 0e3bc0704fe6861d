"""Minus the trace of the conditional Hessian (the mean curvature of arXiv 2412.04140)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class HessianTrace(Detector):
    """``-tr J_c`` by Hutchinson's estimator with Rademacher probes.

    Paper: Jeon, Kim, No, arXiv 2412.04140: by integration by parts ``E norm(s)^2 = -E tr H``, so the norm of the score
    measures curvature; here the trace itself is estimated at one point. Probes are Rademacher vectors, whose variance
    sees off-diagonal entries only (Hutchinson 1990), the same for all items of a seed.

    Attributes:
        t: Timestep on the unguided conditional trajectory; none means pure noise and the first step.
        probes: Jacobian products per item.
    """

    info = DetectorInfo(
        name="hessian-trace",
        title="minus the trace of the conditional Hessian",
        paper="jeon2025sharpness",
        year=2025,
        access="gradient",
        cost="probes JVP",
    )
    t: int | None = None
    probes: PositiveInt = 4

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        x, t = probe.at(self.t)
        total: Tensor | None = None
        for v in probe.directions(self.probes):
            product = probe.jacobian_product(x, t, "cond", v)
            form = (v.double() * product.double()).flatten(1).sum(dim=1)
            total = form if total is None else total + form
        assert total is not None
        return -total / self.probes
