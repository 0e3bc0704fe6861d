"""How early the finished sample shows on the trajectory (Kim, Kim, Lee 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class TrajectoryDecomposition(Detector):
    """Mean over the states of the guided trajectory of ``w_0 - alpha_t``, with ``x_t = w_0 x + w_T x_T`` + a rest.

    Paper: Kim, Kim, Lee, "How Diffusion Models Memorize", arXiv 2509.25705. x is the end of the trajectory, and x_T is
    the noise that it starts from. For each state between the two, the weights are found by least squares. The forward
    process would give w_0 = alpha_t. A memorized sample is visible early: guidance puts more of it into early states
    than the schedule asks for. Early states of other samples contain little of their end.
    """

    info = DetectorInfo(
        name="trajectory-decomposition",
        title="by how much earlier states contain more of the finished sample than the schedule says",
        paper="kim2025how",
        year=2025,
        access="score",
        cost="2 T F (1 F less with shared noise)",
        fidelity="deviates",
        deviation=(
            "in the paper x is the memorized training image, and the topic is why models memorize. A detector has only "
            "the end of the trajectory, which is that image if it is memorized. The abstract does not say which "
            "deviation from the schedule goes with memorization, or over which steps; the mean over all states is "
            "memdet's reading."
        ),
        headline=Headline(guidance=7.5, source="50 steps of Stable Diffusion's own guidance"),
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        trajectory, schedule = probe.trajectory(), probe.model.schedule
        if len(trajectory.timesteps) < 2:
            raise NotApplicableError("a trajectory of one step has no state between its ends")
        end, start = trajectory.clean().double().flatten(1), trajectory.state(0).double().flatten(1)
        of_end, of_start, both = ((a * b).sum(dim=1) for a, b in ((end, end), (start, start), (end, start)))
        determinant = of_end * of_start - both.square()
        beyond = []
        for index, t in enumerate(trajectory.timesteps[1:], start=1):
            state = trajectory.state(index).double().flatten(1)
            with_end, with_start = (state * end).sum(dim=1), (state * start).sum(dim=1)
            weight = (with_end * of_start - with_start * both) / determinant
            beyond.append(weight - schedule.alpha(t))
        return torch.stack(beyond).mean(dim=0)
