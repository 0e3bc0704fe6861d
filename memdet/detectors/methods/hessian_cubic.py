"""Squared norm of the conditional Hessian times the score (the lemma behind arXiv 2412.04140)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class HessianCubic(Detector):
    """``norm(J_c s_c)^2`` at one time.

    Derived from a lemma of Jeon, Kim, No, ICML 2025, arXiv 2412.04140: for a Gaussian, ``E norm(H s)^2 = -tr H^3``.
    Large negative eigenvalues enter this trace by their third power. The authors do not propose it as a detector. It
    uses the conditional branch alone; ``jeon2025`` uses the difference of the branches. The Jacobian of a trained
    network is not symmetric; the product here is J s, a Jacobian-vector product.

    Attributes:
        t: Timestep, the nearest on the unguided conditional trajectory; none means pure noise, at the first step.
        backend: ``jvp`` (exact), ``fd`` (central difference), ``fd-one-sided``, or ``closed-form`` for models that know
            the product.
    """

    info = DetectorInfo(
        name="hessian-cubic",
        title="squared norm of the conditional Hessian times the score",
        paper="jeon2025sharpness",
        year=2025,
        access="gradient",
        cost="1 F + 1 JVP",
        fidelity="derived",
    )
    t: int | None = None
    backend: Literal["jvp", "fd", "fd-one-sided", "closed-form"] = "jvp"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        x, t = probe.at(self.t)
        product = probe.jacobian_product(x, t, "cond", probe.score(x, t, "cond"), self.backend)
        square: Tensor = product.double().flatten(1).square().sum(dim=1)
        return square
