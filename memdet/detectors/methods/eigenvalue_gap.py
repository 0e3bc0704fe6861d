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

    The eigenvalues of the Hessian of a noisy density are never below ``-1 / sigma^2``. The smallest eigenvalue of a
    single branch reaches this bound when the item is memorized, but often also when it is not. The difference of the
    two branches does not saturate in this way. The eigenvalue is a Ritz value from ``krylov`` products of each branch,
    with one random start. It is exact if ``krylov`` reaches the dimension.

    Attributes:
        t: Timestep, the nearest on the unguided conditional trajectory; none means pure noise, at the first step.
        krylov: Jacobian products per branch.
        estimator: ``krylov`` estimates. ``exact`` computes the whole spectrum, for closed forms and small networks
            only.
        backend: ``vjp`` (reverse AD; its products are cheaper, and J^T has the same symmetric part as J) or ``jvp``
            (forward AD).
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
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
