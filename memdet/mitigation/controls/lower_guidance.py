"""Less guidance: the simplest trade of memorization against what the caption says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from memdet.errors import NotApplicableError
from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class LowerGuidance(Mitigation):
    """The protocol's generation with ``factor`` times its guidance.

    Attributes:
        factor: Of the guidance scale, from 0 (the null branch alone) to 1.
    """

    info = MitigationInfo(
        name="lower-guidance",
        title="the protocol's guidance, halved",
        access="samples",
        cost="2 T F",
        is_control=True,
    )
    factor: Annotated[float, Field(ge=0, le=1)] = 0.5

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The model has no null branch, and so no guidance.
        """
        if not sampler.has_null:
            raise NotApplicableError(f"{sampler.model.name} has no null branch, so there is no guidance to lower")
        return sampler.follow(sampler.start(), scale=self.factor * sampler.guidance)
