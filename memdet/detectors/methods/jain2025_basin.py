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
    2411.16738. A memorized condition attracts all trajectories into its basin. norm(D) is large inside the basin, and
    falls until the trajectory leaves it. The paper uses this curve for a mitigation, and guides only from a transition
    point on. Its dynamic transition point is the first **local** minimum of norm(D). Its static one is a fixed
    timestep, 650 or 500; before it, the null branch is followed. The paper does not score prompts; to do so by this
    curve is memdet's idea.

    Attributes:
        statistic: ``peak``: the largest norm. ``transition``: the step of the first local minimum, which is smaller
            than both its neighbours; steps are counted from 0 at the noise. A curve without a local minimum never
            leaves the basin, and gets its length. A later transition counts as more memorized.
        guidance: 0 follows the null branch, as the official code does before the transition point; 1 follows the
            conditional branch.
    """

    info = DetectorInfo(
        name="jain2025",
        title="peak or first local minimum of the score difference along the unguided trajectory",
        paper="jain2025classifier",
        year=2025,
        version=2,
        access="score",
        cost="2 T F (half of it with shared noise)",
        fidelity="derived",
    )
    statistic: Literal["peak", "transition"] = "peak"
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
        return curve.amax(dim=1) if self.statistic == "peak" else _first_local_minimum(curve)


def _first_local_minimum(curve: Tensor) -> Tensor:
    """Index of the first value below both its neighbours, ``[batch]``; the length of the curve where there is none."""
    import torch

    falls, rises = curve[:, 1:-1] < curve[:, :-2], curve[:, 1:-1] < curve[:, 2:]
    never = torch.ones(len(curve), 1, dtype=torch.bool, device=curve.device)
    found = torch.cat([falls & rises, never], dim=1).int().argmax(dim=1)
    return torch.where(found < curve.shape[1] - 2, found + 1, curve.shape[1])
