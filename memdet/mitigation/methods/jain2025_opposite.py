"""Guidance away from the condition until the trajectory has left the attraction basin (Jain et al., CVPR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class OppositeGuidance(Mitigation):
    """Guidance -2 while ``t > 650``, or until the first local minimum of ``norm(D)``; the protocol's from then on.

    Paper: Jain et al., "Classifier-Free Guidance Inside the Attraction Basin May Cause Memorization", CVPR 2025, arXiv
    2411.16738: guidance away from the caption makes the trajectory leave the basin sooner.

    Attributes:
        transition: ``static``: at ``t``, as the authors' command has it. ``dynamic``: at the first local minimum of
            norm(D), as in ``jain2025-dynamic``.
        t: Timestep from which the protocol's guidance is applied, for ``static``.
        scale: Guidance before the transition.
    """

    info = MitigationInfo(
        name="jain2025-opposite",
        title="opposite guidance until a fixed timestep, then guidance",
        paper="jain2025classifier",
        year=2025,
        access="score",
        cost="2 T F",
        fidelity="faithful",
    )
    transition: Literal["static", "dynamic"] = "static"
    t: Annotated[int, Field(ge=0, le=1000)] = 650
    scale: Annotated[float, Field(lt=0)] = -2.0

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The model has no null branch.
        """
        from memdet.mitigation.transition import until_minimum

        if self.transition == "dynamic":
            return until_minimum(sampler, self.scale)
        times = sampler.timesteps
        return sampler.follow(
            sampler.start(), scale=lambda index: self.scale if times[index] > self.t else sampler.guidance
        )
