"""Minus the trace of the difference of the conditional and null Hessians."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class TraceGap(Detector):
    """``-(tr J_c - tr J_u)`` at one time.

    This is ``hessian-trace`` minus the same trace of the null branch: what all conditions have in common cancels. The
    probes are Rademacher vectors, the same on both branches and for all items of a seed, so the estimation error of the
    common part cancels too. With shared noise the null products are computed once per seed.

    Attributes:
        t: Timestep, the nearest on the unguided conditional trajectory; none means pure noise, at the first step.
        probes: Jacobian products per branch.
        backend: ``vjp`` (reverse AD; its products are cheaper, and J^T has the same trace as J), ``jvp`` (forward AD),
            ``fd`` (central difference) or ``fd-one-sided``.
        estimator: ``hutchinson`` estimates the trace from the probes. ``exact`` computes the whole spectrum, for closed
            forms and small networks only.
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="trace-gap",
        title="minus the trace of the Hessian difference",
        year=2026,
        access="gradient",
        cost="2 F + 2 probes VJP (half of it with shared noise)",
        fidelity="ours",
    )
    t: int | None = None
    probes: PositiveInt = 4
    backend: Literal["vjp", "jvp", "fd", "fd-one-sided"] = "vjp"
    estimator: Literal["hutchinson", "exact"] = "hutchinson"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        from memdet.curvature import hutchinson

        x, t = probe.at(self.t)
        if self.estimator == "exact":
            return -probe.spectrum_of_difference(x, t).sum(dim=1)

        def product(v: Tensor) -> Tensor:
            cond, null = probe.both_products(x, t, v, self.backend)
            return cond - null

        return -hutchinson(product, probe.directions(self.probes, draw=self.draw)).value
