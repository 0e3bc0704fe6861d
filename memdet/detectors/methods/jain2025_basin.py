"""The curve of score differences along a trajectory without guidance (Jain et al., CVPR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class AttractionBasin(Detector):
    """A statistic of ``norm(D(x_i, t_i))``, i = 0 .. steps - 1, along the trajectory without guidance.

    Paper: Jain et al., "Classifier-Free Guidance Inside the Attraction Basin May Cause Memorization", CVPR 2025, arXiv
    2411.16738. A memorized condition pulls all trajectories into its basin: norm(D) is large there, and falls at a
    transition point where the trajectory leaves the basin. The paper mitigates with this curve; to score prompts by its
    statistics is memdet's reading.

    Attributes:
        statistic: ``peak``: the largest norm. ``minimum-position``: the step of the smallest norm, counted from 0 at
            the noise. The basin keeps a memorized condition's norm up, so its minimum comes late: later is more
            memorized. Where the curve rises from its first step on, the minimum is step 0 and says nothing.
        guidance: 0 follows the null branch, as the official code does before the transition point; 1 the condition.
    """

    info = DetectorInfo(
        name="jain2025",
        title="peak or minimum of the score difference along the unguided trajectory",
        paper="jain2025classifier",
        year=2025,
        access="score",
        cost="2 T F (half of it with shared noise)",
    )
    statistic: Literal["peak", "minimum-position"] = "peak"
    guidance: Literal[0, 1] = 0

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        trajectory = probe.trajectory(guidance=float(self.guidance))
        norms = [
            probe.difference(trajectory.state(index), t).double().flatten(1).norm(dim=1)
            for index, t in enumerate(trajectory.timesteps)
        ]
        curve = torch.stack(norms, dim=1)
        return curve.amax(dim=1) if self.statistic == "peak" else curve.argmin(dim=1)
