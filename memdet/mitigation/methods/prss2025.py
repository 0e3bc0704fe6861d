"""Guidance away from a memorized caption towards one that was moved (PRSS, Chen et al., CVPR 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveFloat, PositiveInt

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class PromptReanchoring(Mitigation):
    """``e(p) + s (e(p') - e(p))`` in place of guidance, where ``norm(D)`` at the first step exceeds a threshold.

    p is the caption, p' one that pulls less, s the protocol's guidance: what is memorized takes the place of the null
    branch, so that guidance leads away from it. Where the norm is below, the protocol's guidance stays.

    Paper: Chen, Liu, Shah, Xu, "Enhancing Privacy-Utility Trade-offs to Mitigate Memorization in Diffusion Models",
    CVPR 2025, arXiv 2504.18032.

    Attributes:
        threshold: Of norm(D), below which a caption is taken for harmless, and at which p' stays. It is that of 4 x 64
            x 64 latents; for others it is scaled as norms are.
        rate, steps: Of the descent that makes p', as in ``wen2024-mitigation``.
    """

    info = MitigationInfo(
        name="prss2025",
        title="guidance away from the caption, towards one whose embedding was moved",
        paper="chen2025enhancing",
        year=2025,
        access="gradient",
        cost="(2 T + 2) F + steps F + steps VJP",
        fidelity="deviates",
        deviation=(
            "the authors let a language model write other captions and take the first below the threshold; none is "
            "here, and p' is the engineered embedding of their ablation. The norm is of all of D, and not of the part "
            "that the attention of the end token marks."
        ),
    )
    threshold: PositiveFloat = 3.0
    rate: PositiveFloat = 0.05
    steps: PositiveInt = 10

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: Conditions are no embedding, or there is no null branch.
        """
        import torch

        from memdet.mitigation.embedding import engineered, first_step_norm

        limit, signal = self.threshold * sampler.unit(), first_step_norm(sampler)
        risky = signal(sampler, sampler.condition) > limit
        x = sampler.start().clone()
        harmless, risks = (torch.nonzero(where).flatten() for where in (~risky, risky))
        if len(harmless):
            x[harmless] = sampler.only(harmless).follow(x[harmless])
        if len(risks):
            part = sampler.only(risks)
            moved = engineered(part, signal, rate=self.rate, steps=self.steps, target=limit)
            z = x[risks]
            for index, t in enumerate(part.timesteps):
                anchor, aim = part.output(z, t, part.condition), part.output(z, t, moved)
                z = part.step(index, z, part.model.guided(aim, anchor, part.guidance))
            x[risks] = z
        return x
