"""Frobenius norm of the difference of the conditional and null Hessians (memdet's own)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class CurvatureGap(Detector):
    """``sqrt(mean_k norm(J_D v_k)^2)``, an estimate of the Frobenius norm of ``J_D = J_c - J_u``.

    The v_k are Rademacher vectors, the same for all items of a seed. Products are one-sided finite differences at the
    starting noise. With shared noise the null branch is evaluated once per seed. An item then costs ``1 + probes``
    forwards; with one probe this is as much as a guided step.

    Attributes:
        probes: Jacobian products per branch.
        t: Timestep, the nearest on the unguided conditional trajectory; none means pure noise, at the first step.
        backend: ``fd-one-sided``, or ``jvp`` and ``fd`` for a more exact product. In half precision, rounding destroys
            differences: products are then computed as ``jvp``, whatever this option says, and are counted as JVPs.
        estimator: ``probes``, or ``exact``: the norm itself, for closed forms and small networks only.
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="curvature-gap",
        title="Frobenius norm of the Hessian difference, by random probes",
        year=2026,
        access="score",
        cost="2 F + 2 probes F (half of it with shared noise)",
        fidelity="ours",
    )
    probes: PositiveInt = 1
    t: int | None = None
    backend: Literal["jvp", "fd", "fd-one-sided"] = "fd-one-sided"
    estimator: Literal["probes", "exact"] = "probes"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        x, t = probe.at(self.t)
        if self.estimator == "exact":
            return probe.frobenius_of_difference(x, t)
        total: Tensor | None = None
        for v in probe.directions(self.probes, draw=self.draw):
            cond, null = probe.both_products(x, t, v, self.backend)
            square = (cond - null).double().flatten(1).square().sum(dim=1)
            total = square if total is None else total + square
        assert total is not None
        return (total / self.probes).sqrt()
