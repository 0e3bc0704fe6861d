"""Change of the conditional prediction from one guided step to the next (anonymous, ICML 2026 submission)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class PredictionChange(Detector):
    """``norm(e_c(x_{k+1}, t_{k+1}) - e_c(x_k, t_k))`` along the guided trajectory, which starts at step 0.

    Paper: "Early Detection of Memorization in Diffusion Models" (anonymous, 2026), where it is the dynamical
    singularity metric. The official code squares the norm, which orders the items of one seed alike. No null prediction
    is made at the later of the two steps, which the score does not need.

    Attributes:
        k: The earlier step, 0 or 1; the paper's best figures are of 1.
    """

    info = DetectorInfo(
        name="dsm",
        title="change of the conditional prediction between two guided steps",
        paper="anonymous2026early",
        year=2026,
        access="score",
        cost="(2 k + 3) F (1 F less with shared noise)",
    )
    k: Literal[0, 1] = 1

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        trajectory = probe.trajectory()
        earlier, later = self.k, self.k + 1
        if later >= len(trajectory.timesteps):
            raise NotApplicableError(f"the protocol's trajectory has no step {later}")
        change = probe.eps(trajectory.state(later), trajectory.timesteps[later], "cond").double()
        change = change - probe.eps(trajectory.state(earlier), trajectory.timesteps[earlier], "cond").double()
        norm: Tensor = change.flatten(1).norm(dim=1)
        return norm
