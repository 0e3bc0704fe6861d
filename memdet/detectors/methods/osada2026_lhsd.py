"""Local Hessian spectral dimension (Osada, ICML 2026)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe

CUTOFFS = tuple(round(0.1 * index, 1) for index in range(1, 10))


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
        c: Cut-off of the filter, in units of ``1 / sigma^2``; ``dev`` takes the one of .1, .2, ... .9 that tells the
            items of the dev split best.
        p: Steepness of the filter.
        estimator: ``lanczos``, or ``exact``: the whole spectrum, of closed forms and small networks.
        backend: ``vjp`` (reverse AD: J^T has the same symmetric part, and cheaper products) or ``jvp`` (forward AD).
        draw: Which random vectors; another number takes others at the same noise.
    """

    info = DetectorInfo(
        name="lhsd",
        title="minus the local intrinsic dimension, by a filter on the Hessian's spectrum",
        paper="osada2026lhsd",
        year=2026,
        version=2,
        access="gradient",
        cost="to_t F + 1 F + probes krylov VJP",
    )
    t: int | None = 50
    probes: PositiveInt = 1
    krylov: PositiveInt = 10
    c: PositiveFloat | Literal["dev"] = "dev"
    p: PositiveFloat = 4.0
    estimator: Literal["lanczos", "exact"] = "lanczos"
    backend: Literal["vjp", "jvp"] = "vjp"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        c = probe.calibrate(self.label, self._fit) if self.c == "dev" else self.c
        return -self._dimensions(probe, [c])[0]

    def _dimensions(self, probe: Probe, cutoffs: Sequence[float]) -> list[Tensor]:
        """What each cut-off counts, ``[batch]`` each; the products are made once."""
        from memdet.curvature import spectral_density

        x, t = probe.at(self.t)
        bound = probe.model.schedule.sigma(t) ** -2
        filters = [partial(_keep, kappa=c * bound, p=self.p) for c in cutoffs]
        if self.estimator == "exact":
            spectrum = probe.spectrum(x, t, "cond")
            return [keep(spectrum).sum(dim=1) for keep in filters]
        steps = min(self.krylov, x[0].numel())
        starts = probe.directions(self.probes, draw=self.draw)
        density = spectral_density(lambda v: probe.jacobian_product(x, t, "cond", v, self.backend), starts, steps)
        return [density.trace(keep).value for keep in filters]

    def _fit(self, dev: Probe) -> float:
        """The cut-off with the largest AUROC; of several the one nearest to a half."""
        from sklearn.metrics import roc_auc_score

        if len(set(dev.labels)) < 2:
            raise NotApplicableError("the dev split holds one label only, so no cut-off can be fitted")
        dimensions = self._dimensions(dev, CUTOFFS)
        areas = [round(roc_auc_score(dev.labels, -value.double().cpu().numpy()), 9) for value in dimensions]
        return max(zip(areas, CUTOFFS, strict=True), key=lambda pair: (pair[0], -abs(pair[1] - 0.5)))[1]


def _keep(values: Tensor, kappa: float, p: float) -> Tensor:
    return 1 / (1 + (values.abs() / kappa) ** p)
