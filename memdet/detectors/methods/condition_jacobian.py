"""How fast the conditional score moves along the condition (2026 workshop paper)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ConditionJacobian(Detector):
    """``norm((d s_c / d c) (c - null))``: the derivative of the conditional score along the step from null to c, at c.

    Paper: a workshop paper of 2026. The derivative is exact, by forward AD through the embedding. Conditions that
    cannot be differentiated, such as class numbers, have no score.

    Attributes:
        t: Timestep, the nearest on the unguided conditional trajectory; none means pure noise, at the first step.
    """

    info = DetectorInfo(
        name="condition-jacobian",
        title="norm of the score's derivative along the condition",
        paper="workshop2026condition",
        year=2026,
        access="gradient",
        cost="1 JVP",
        fidelity="faithful",
        headline=Headline(source="first step; the paper is known to us by its formula"),
    )
    t: int | None = None

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        norm: Tensor = probe.embedding_product(*probe.at(self.t, pure_noise=True)).double().flatten(1).norm(dim=1)
        return norm
