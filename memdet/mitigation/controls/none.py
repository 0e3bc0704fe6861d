"""No mitigation: what the pipeline generates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class NoMitigation(Mitigation):
    """The protocol's own generation, ``DDIM(x_T, caption, guidance)``."""

    info = MitigationInfo(
        name="none", title="no mitigation: the protocol's generation", access="samples", cost="2 T F", is_control=True
    )

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item."""
        return sampler.follow(sampler.start())
