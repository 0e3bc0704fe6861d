"""No condition until a fixed time (Jain et al., CVPR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class StaticTransition(Mitigation):
    """The null branch alone while ``t > 500``, the protocol's guidance from then on.

    Paper: Jain et al., "Classifier-Free Guidance Inside the Attraction Basin May Cause Memorization", CVPR 2025, arXiv
    2411.16738: a memorized caption pulls all trajectories into its basin early on; past it guidance does no harm.

    Attributes:
        t: Timestep from which guidance is applied: 500 as in the authors' command; they also take 600 to 700.
    """

    info = MitigationInfo(
        name="jain2025-static",
        title="null branch until a fixed timestep, then guidance",
        paper="jain2025classifier",
        year=2025,
        access="score",
        cost="2 T F",
        fidelity="faithful",
    )
    t: Annotated[int, Field(ge=0, le=1000)] = 500

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The model has no null branch.
        """
        times = sampler.timesteps
        return sampler.follow(sampler.start(), scale=lambda index: 0.0 if times[index] > self.t else sampler.guidance)
