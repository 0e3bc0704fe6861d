"""Local Hessian spectral dimension (Osada, ICML 2026)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe

CUTOFFS = tuple(round(0.1 * index, 1) for index in range(1, 10))
NEIGHBOURHOOD = 0.2  # of kappa, on either side


class LocalHessianSpectralDimension(Detector):
    """``-tr f(-S)`` with ``f(l) = 1 / (1 + (abs(l) / kappa)^p)`` and ``kappa = c / sigma^2``, at the image.

    S is the symmetric part of the Jacobian of the **unconditional** score at ``alpha x_0``. x_0 is the item's image, or
    the end of the guided trajectory.

    Paper: Osada, "Local Hessian Spectral Filtering for Robust Intrinsic Dimension Estimation", ICML 2026, arXiv
    2605.01221. Directions normal to the data have eigenvalues near ``-1 / sigma^2``, and tangent directions have
    eigenvalues near zero. The filter counts the tangent directions; their number is the local intrinsic dimension,
    which is low for a memorized sample. The trace is estimated by stochastic Lanczos quadrature, from ``probes``
    Rademacher starts with ``krylov`` products each.

    Attributes:
        t: Timestep, any of the schedule. It must be a time of low noise; otherwise there are no tangent directions to
            count.
        probes: Number of random starts.
        krylov: Jacobian products per start.
        c: Cut-off of the filter, in units of ``1 / sigma^2``. ``transition`` chooses the one of .1, .2, ... .9 at which
            the spectrum is thinnest: with the smallest share of eigenvalues within 20 % of kappa. This share is
            averaged over the items of the dev split, without their labels. If several are equally good, the one nearest
            to .5 is taken.
        p: Steepness of the filter.
        estimator: ``lanczos`` estimates. ``exact`` computes the whole spectrum, for closed forms and small networks
            only.
        backend: ``vjp`` (reverse AD; its products are cheaper, and J^T has the same symmetric part as J) or ``jvp``
            (forward AD).
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="lhsd",
        title="minus the local intrinsic dimension, by a filter on the Hessian's spectrum",
        paper="osada2026lhsd",
        year=2026,
        version=3,
        access="gradient",
        cost="2 T F + 1 F + probes krylov VJP (no trajectory for images)",
        fidelity="faithful",
        headline=Headline("probes=8,krylov=5", guidance=7.5, source="6 to 8 starts, m = 5, at the image"),
    )
    t: NonNegativeInt = 50
    probes: PositiveInt = 8
    krylov: PositiveInt = 5
    c: PositiveFloat | Literal["transition"] = "transition"
    p: PositiveFloat = 4.0
    estimator: Literal["lanczos", "exact"] = "lanczos"
    backend: Literal["vjp", "jvp"] = "vjp"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        c = probe.calibrate(self.label, self._transition) if self.c == "transition" else self.c
        kappa = c * probe.model.schedule.sigma(self.t) ** -2
        return -self._traces(probe, [partial(_keep, kappa=kappa, p=self.p)])[0]

    def _traces(self, probe: Probe, filters: Sequence[Callable[[Tensor], Tensor]]) -> list[Tensor]:
        """Trace of each filter of S, ``[batch]`` each; the products are made once."""
        from memdet.curvature import spectral_density

        schedule = probe.model.schedule
        schedule.check(self.t)
        x = schedule.alpha(self.t) * probe.clean()
        if self.estimator == "exact":
            spectrum = probe.spectrum(x, self.t, "null")
            return [keep(spectrum).sum(dim=1) for keep in filters]
        steps = min(self.krylov, x[0].numel())
        starts = probe.directions(self.probes, draw=self.draw)
        density = spectral_density(lambda v: probe.jacobian_product(x, self.t, "null", v, self.backend), starts, steps)
        return [density.trace(keep).value for keep in filters]

    def _transition(self, dev: Probe) -> float:
        """The cut-off around which fewest eigenvalues of the dev items lie."""
        bound = dev.model.schedule.sigma(self.t) ** -2
        near = self._traces(dev, [partial(_is_near, kappa=c * bound) for c in CUTOFFS])
        shares = [round(float(share.double().mean()), 9) for share in near]
        return min(zip(shares, CUTOFFS, strict=True), key=lambda pair: (pair[0], abs(pair[1] - 0.5)))[1]


def _keep(values: Tensor, kappa: float, p: float) -> Tensor:
    return 1 / (1 + (values.abs() / kappa) ** p)


def _is_near(values: Tensor, kappa: float) -> Tensor:
    return ((values.abs() - kappa).abs() <= NEIGHBOURHOOD * kappa).to(values.dtype)
