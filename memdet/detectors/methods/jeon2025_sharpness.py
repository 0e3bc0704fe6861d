"""Sharpness of the conditional density relative to the null one (Jeon, Kim, No, ICML 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class Sharpness(Detector):
    """``norm(J_D s_D)^power`` with ``J_D = J_c - J_u`` and ``s_D = s_c - s_u``, at one time.

    Paper: Jeon, Kim, No, "Understanding and Mitigating Memorization in Generative Models via Sharpness of Probability
    Landscapes", ICML 2025, arXiv 2412.04140. It is the Hessian of log p(c | x) times its score, so the score difference
    is weighted by curvature. The paper squares the norm; the official code does not. With several seeds, the mean over
    seeds depends on this. The Jacobian of a trained network is not symmetric: the product here is J s, a
    Jacobian-vector product, and ``J^T s`` would be another detector.

    Attributes:
        power: 2, as in the paper, or 1, as in the official code.
        t: Timestep, the nearest on the unguided conditional trajectory; none means pure noise, at the first step, as in
            the paper.
        backend: ``jvp`` (exact), ``fd`` (central difference), ``fd-one-sided``, or ``closed-form`` for models that know
            the product.
    """

    info = DetectorInfo(
        name="jeon2025",
        title="norm of the Hessian difference times the score difference",
        paper="jeon2025sharpness",
        year=2025,
        access="gradient",
        cost="2 F + 2 JVP",
        fidelity="faithful",
        headline=Headline(seeds=4, source="first step, n = 4; no guidance is involved; the official code has power=1"),
    )
    power: Literal[1, 2] = 2
    t: int | None = None
    backend: Literal["jvp", "fd", "fd-one-sided", "closed-form"] = "jvp"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        x, t = probe.at(self.t)
        direction = -probe.difference(x, t) / probe.model.schedule.sigma(t)
        cond, null = probe.both_products(x, t, direction, self.backend)
        norm: Tensor = (cond - null).double().flatten(1).norm(dim=1)
        return norm.pow(self.power)
