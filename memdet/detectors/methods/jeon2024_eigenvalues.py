"""Eigenvalues of the Hessian of the conditional log density (Jeon, Kim, No, arXiv 2412.04140v1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class Eigenvalues(Detector):
    """A statistic of the spectrum of ``S_c = (J_c + J_c^T) / 2`` at one time.

    Paper: Jeon, Kim, No, arXiv 2412.04140v1: at memorized samples the Hessian has large negative eigenvalues, and near
    the end of the trajectory no positive ones. The spectrum is estimated from ``krylov`` products per item with one
    random start. Extreme eigenvalues are Ritz values, and counts come from Gauss quadrature of the spectral density.
    All are exact if ``krylov`` reaches the dimension.

    Attributes:
        statistic: ``smallest``: minus the smallest eigenvalue. ``count-below``: the number of eigenvalues below ``-c /
            sigma^2``. ``positive``: minus the number of positive eigenvalues.
        t: Timestep, the nearest on the unguided conditional trajectory; none means pure noise, at the first step.
        krylov: Jacobian products per item.
        c: Threshold of ``count-below``, in units of ``1 / sigma^2``.
        estimator: ``krylov`` estimates. ``exact`` computes the whole spectrum, for closed forms and small networks
            only.
        backend: ``vjp`` (reverse AD; its products are cheaper, and J^T has the same symmetric part as J) or ``jvp``
            (forward AD).
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="jeon2024-eigenvalues",
        title="smallest eigenvalue, or a count, of the conditional Hessian",
        paper="jeon2024geometric",
        year=2024,
        version=2,
        access="gradient",
        cost="1 F + krylov VJP",
        fidelity="faithful",
        headline=Headline("statistic=positive,t=1", source="positive eigenvalues near the end of the trajectory"),
    )
    statistic: Literal["smallest", "count-below", "positive"] = "smallest"
    t: int | None = None
    krylov: PositiveInt = 10
    c: PositiveFloat = 0.5
    estimator: Literal["krylov", "exact"] = "krylov"
    backend: Literal["vjp", "jvp"] = "vjp"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        from memdet.curvature import krylov

        x, t = probe.at(self.t)
        bound = -self.c / probe.model.schedule.sigma(t) ** 2
        if self.estimator == "exact":
            spectrum = probe.spectrum(x, t, "cond")
            if self.statistic == "smallest":
                return -spectrum[:, 0]
            return (spectrum < bound).sum(dim=1) if self.statistic == "count-below" else -(spectrum > 0).sum(dim=1)
        (start,) = probe.directions(1, "gaussian", draw=self.draw)
        steps = min(self.krylov, x[0].numel())
        space = krylov(lambda v: probe.jacobian_product(x, t, "cond", v, self.backend), start, steps)
        if self.statistic == "smallest":
            return -space.extreme(1, "smallest").value[:, 0]
        if self.statistic == "count-below":
            return space.count(bound)
        return space.count(0.0) - space.dimension
