"""Minus the smallest eigenvalue of the difference of the conditional and null Hessians."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class EigenvalueGap(Detector):
    """Minus the smallest eigenvalue of ``S_D = (J_D + J_D^T) / 2`` with ``J_D = J_c - J_u``, at one time.

    The Hessian of a noisy density is bounded below by ``-1 / sigma^2``: the smallest eigenvalue of one branch saturates
    there when the item is memorized, and often when it is not. The difference of the branches does not. The eigenvalue
    is a Ritz value of ``krylov`` products of each branch from one random start, exact where ``krylov`` reaches the
    dimension.

    Attributes:
        t: Timestep on the unguided conditional trajectory; none means pure noise and the first step.
        krylov: Jacobian products per branch.
        estimator: ``krylov``, or ``exact``: the whole spectrum, of closed forms and small networks.
        backend: ``vjp`` (reverse AD: J^T has the same symmetric part, and cheaper products) or ``jvp`` (forward AD).
        draw: Which random vectors; another number takes others at the same noise.
    """

    info = DetectorInfo(
        name="eigenvalue-gap",
        title="minus the smallest eigenvalue of the Hessian difference",
        year=2026,
        version=2,
        access="gradient",
        cost="2 F + 2 krylov VJP",
        fidelity="ours",
    )
    t: int | None = None
    krylov: PositiveInt = 10
    estimator: Literal["krylov", "exact"] = "krylov"
    backend: Literal["vjp", "jvp"] = "vjp"
    draw: NonNegativeInt = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        from memdet.curvature import krylov

        x, t = probe.at(self.t)
        if self.estimator == "exact":
            return -probe.spectrum_of_difference(x, t)[:, 0]
        (start,) = probe.directions(1, "gaussian", draw=self.draw)

        def product(v: Tensor) -> Tensor:
            cond, null = probe.both_products(x, t, v, self.backend)
            return cond - null

        return -krylov(product, start, min(self.krylov, x[0].numel())).extreme(1, "smallest").value[:, 0]
