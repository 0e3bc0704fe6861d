"""Change of the prediction from one guided step to the next (anonymous, ICML 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class PredictionChange(Detector):
    """``norm(e_c(x_{k+1}, t_{k+1}) - e_c(x_k, t_k))`` along the guided trajectory, which starts at step 0.

    Paper: "Early Detection of Memorization in Diffusion Models" (anonymous, ICML 2026), which calls it the dynamical
    singularity metric. The official code squares the norm; this does not change the order of the items of one seed. The
    score needs no null prediction at the later of the two steps, so none is made.

    Attributes:
        k: The earlier of the two steps, 0 or 1; the paper's best figures are for 1.
        of: The quantity whose change is measured. ``prediction``: the conditional prediction. ``gap``: the score
            difference ``s_c - s_u``, which is another public reading of the method, and costs one forward more.
    """

    info = DetectorInfo(
        name="dsm",
        title="change of the conditional prediction between two guided steps",
        paper="anonymous2026early",
        year=2026,
        access="score",
        cost="(2 k + 3) F (1 F less with shared noise, 1 F more for the gap)",
        fidelity="faithful",
        headline=Headline("k=1", guidance=7.5, source="the paper's best figures"),
    )
    k: Literal[0, 1] = 1
    of: Literal["prediction", "gap"] = "prediction"

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        steps = len(probe.timesteps)
        if self.k + 1 >= steps:
            raise NotApplicableError(f"the protocol's trajectory has no step {self.k + 1}")
        change = (self._at(probe, self.k + 1) - self._at(probe, self.k)).flatten(1)
        norm: Tensor = change.norm(dim=1)
        return norm

    def _at(self, probe: Probe, index: int) -> Tensor:
        """What changes, at one guided step."""
        trajectory = probe.trajectory()
        x, t = trajectory.state(index), trajectory.timesteps[index]
        if self.of == "gap":
            return -probe.difference(x, t).double() / probe.model.schedule.sigma(t)
        return probe.eps(x, t, "cond").double()
