"""Another starting noise: what luck alone does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class Reseed(Mitigation):
    """The protocol's generation from another x_T.

    A method that moves x_T must beat this one: a caption that is given back from some noises only is mitigated by any
    other noise.

    Attributes:
        draw: Which further starting noise of the seed; 0 would be the one that all others start from.
    """

    info = MitigationInfo(
        name="reseed", title="another starting noise", access="samples", cost="2 T F", is_control=True
    )
    draw: Annotated[int, Field(ge=1)] = 1

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item."""
        return sampler.follow(sampler.start(self.draw))
