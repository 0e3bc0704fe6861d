"""Attention that stays with the first token (Ren et al., ECCV 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveFloat

from memdet.detectors.sink import Sink, demand_sink
from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class FirstTokenAttention(Mitigation):
    """The protocol's generation with the first token's cross-attention logits times 1.25, and none for padding.

    The conditional branch alone is changed, in every layer at every step; padding is what follows the end token.

    Paper: Ren et al., "Unveiling and Mitigating Memorization in Text-to-image Diffusion Models through Cross
    Attention", ECCV 2024, arXiv 2403.11052: attention of an ordinary prompt gathers on the first token, and that of a
    memorized one stays on others. Where ordinary prompts have no such sink the paper's reason does not hold.

    Attributes:
        factor: Of the first token's logits.
        sink: ``required``: not applicable unless the first token takes more than half of the attention of ordinary
            prompts at the last step. ``any``: applied all the same.
    """

    info = MitigationInfo(
        name="ren2024-mitigation",
        title="more attention to the first token, none to padding",
        paper="ren2024unveiling",
        year=2024,
        access="attention",
        cost="2 T F",
        fidelity="faithful",
    )
    factor: PositiveFloat = 1.25
    sink: Sink = "required"

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The model has no cross-attention to text, no null branch, or no sink.
        """
        import torch

        from memdet.mitigation.inside import rescaled_attention

        layers, ends = sampler.model.cross_attention(), sampler.model.end_positions(sampler.prompts)
        if self.sink == "required":
            demand_sink(sampler.whole.probe, len(sampler.timesteps) - 1)
        tokens = sampler.embedding.shape[1]
        blocked = torch.arange(tokens, device=ends.device) > ends[:, None]
        x, condition = sampler.start(), sampler.condition
        for index, t in enumerate(sampler.timesteps):
            with rescaled_attention(layers, self.factor, blocked):
                cond = sampler.output(x, t, condition)
            output = sampler.model.guided(cond, sampler.output(x, t, sampler.null), sampler.guidance)
            x = sampler.step(index, x, output)
        return x
