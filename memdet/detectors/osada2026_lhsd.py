"""Local Hessian spectral dimension (Osada, ICML 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import PositiveFloat, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class LocalHessianSpectralDimension(Detector):
    """``-tr f(-S_c)`` with ``f(l) = 1 / (1 + (abs(l) / kappa)^p)`` and ``kappa = c / sigma^2``, at one time.

    Paper: Osada, "Local Hessian Spectral Filtering for Robust Intrinsic Dimension Estimation", ICML 2026, arXiv
    2605.01221: directions normal to the data have eigenvalues near ``-1 / sigma^2``, tangent ones near zero. The filter
    counts the latter, which is the local intrinsic dimension; memorized means a low one. The trace is estimated by
    stochastic Lanczos quadrature on the symmetric part of J from ``probes`` Rademacher starts.

    Attributes:
        t: Timestep on the unguided conditional trajectory; none means pure noise and the first step. There are tangent
            directions to count at low noise only.
        probes: Random starts.
        krylov: Jacobian products per start.
        c: Cut-off of the filter, in units of ``1 / sigma^2``.
        p: Steepness of the filter.
        estimator: ``lanczos``, or ``exact``: the whole spectrum, of closed forms and small networks.
    """

    info = DetectorInfo(
        name="lhsd",
        title="minus the local intrinsic dimension, by a filter on the Hessian's spectrum",
        paper="osada2026lhsd",
        year=2026,
        access="gradient",
        cost="to_t F + probes krylov JVP",
    )
    t: int | None = 50
    probes: PositiveInt = 1
    krylov: PositiveInt = 10
    c: PositiveFloat = 0.5
    p: PositiveFloat = 4.0
    estimator: Literal["lanczos", "exact"] = "lanczos"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        from memdet.curvature import spectral_density

        x, t = probe.at(self.t)
        kappa = self.c / probe.model.schedule.sigma(t) ** 2

        def keep(values: Tensor) -> Tensor:
            return 1 / (1 + (values.abs() / kappa) ** self.p)

        if self.estimator == "exact":
            return -keep(probe.spectrum(x, t, "cond")).sum(dim=1)
        steps = min(self.krylov, x[0].numel())
        starts = probe.directions(self.probes)
        return -spectral_density(lambda v: probe.jacobian_product(x, t, "cond", v), starts, steps).trace(keep).value
