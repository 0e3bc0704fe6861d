"""Minus the trace of the conditional Hessian (derived from a lemma of arXiv 2412.04140)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from pydantic import NonNegativeInt, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class HessianTrace(Detector):
    """``-tr J_c`` at one time.

    Derived from a lemma of Jeon, Kim, No, arXiv 2412.04140: by integration by parts ``E norm(s)^2 = -E tr H``, so the
    norm of the score measures curvature. The authors do not propose the trace as a detector. Here the trace itself is
    estimated at one point. Probes are Rademacher vectors, the same for all items of a seed. The diagonal of J adds
    nothing to the variance of this estimate (Hutchinson 1990).

    Attributes:
        t: Timestep, the nearest on the unguided conditional trajectory; none means pure noise, at the first step.
        probes: Random vectors per item.
        estimator: ``hutchinson``: one product per probe. ``hutch++`` (Meyer et al. 2021) and ``xtrace`` (Epperly et al.
            2024): 1.5 and 2 products per probe, of ``J + I / sigma^2``, which has nearly low rank; both need at least
            two probes, and ``xtrace`` takes no more than there are dimensions. ``exact``: the whole spectrum, for
            closed forms and small networks only.
        backend: ``vjp`` (reverse AD; its products are cheaper, and J^T has the same trace as J) or ``jvp`` (forward
            AD).
        draw: Number of the set of random vectors. Another number gives other vectors at the same noise.
    """

    info = DetectorInfo(
        name="hessian-trace",
        title="minus the trace of the conditional Hessian",
        paper="jeon2025sharpness",
        year=2025,
        access="gradient",
        cost="1 F + probes VJP",
        fidelity="derived",
    )
    t: int | None = None
    probes: PositiveInt = 4
    estimator: Literal["hutchinson", "hutch++", "xtrace", "exact"] = "hutchinson"
    backend: Literal["vjp", "jvp"] = "vjp"
    draw: NonNegativeInt = 0

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.estimator in {"hutch++", "xtrace"} and self.probes < 2:
            raise UserError(f"detector {self.label}: {self.estimator} takes two probes or more")

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        from memdet.curvature import hutch_plus_plus, hutchinson, xtrace

        d = math.prod(probe.model.latent_shape)
        if self.estimator == "xtrace" and self.probes > d:
            raise NotApplicableError(f"xtrace with {self.probes} probes in {d} dimensions: it takes at most {d}")
        x, t = probe.at(self.t)
        if self.estimator == "exact":
            return -probe.spectrum(x, t, "cond").sum(dim=1)

        def product(v: Tensor) -> Tensor:
            return probe.jacobian_product(x, t, "cond", v, self.backend)

        vectors = probe.directions(self.probes, draw=self.draw)
        if self.estimator == "hutchinson":
            return -hutchinson(product, vectors).value
        estimator = hutch_plus_plus if self.estimator == "hutch++" else xtrace
        return -estimator(product, vectors, shift=probe.model.schedule.sigma(t) ** -2).value
