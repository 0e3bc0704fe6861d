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

    Paper: Kim, Kim, Lee, "How Diffusion Models Memorize", arXiv 2509.25705. x is the end of the trajectory and x_T the
    noise that it starts from; the weights are those of least squares, for each state between the two. By the forward
    process w_0 would be alpha_t. A memorized sample stands there early, and guidance puts in more of it than the
    schedule asks for; of another the early states hold little.
    """

    info = DetectorInfo(
        name="trajectory-decomposition",
        title="weight of the finished sample on the states before it, beyond the schedule's",
        paper="kim2025how",
        year=2025,
        access="score",
        cost="2 T F (1 F less with shared noise)",
        fidelity="deviates",
        deviation=(
            "the paper takes the memorized training image for x, and is about why models memorize; a detector has the "
            "end of the trajectory, which is that image where it is memorized. Which deviation from the schedule it "
            "correlates with memorization, and over which steps, is read from its abstract: the mean of all states."
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
