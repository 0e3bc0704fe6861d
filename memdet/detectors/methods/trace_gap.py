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

    ``hessian-trace`` with the null branch as its baseline: what all conditions share cancels. The probes are Rademacher
    vectors, the same on both branches and for all items of a seed, so that the noise of the shared part cancels too.
    With shared noise the null products are computed once per seed.

    Attributes:
        t: Timestep on the unguided conditional trajectory; none means pure noise and the first step.
        probes: Products per branch.
        backend: ``vjp`` (reverse AD: J^T has the trace of J, and cheaper products), ``jvp`` (forward AD), ``fd``
            (central difference) or ``fd-one-sided``.
        estimator: ``hutchinson``, or ``exact``: the whole spectrum, of closed forms and small networks.
        draw: Which random vectors; another number takes others at the same noise.
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
