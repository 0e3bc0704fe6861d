"""A caption whose embedding was moved down the anisotropy score (Asthana and Belagiannis, ICLR 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveFloat, PositiveInt

from memdet.errors import NotApplicableError
from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.embedding import Signal
    from memdet.mitigation.sampler import Sampler
    from memdet.models.condition import Condition

NORM, ANGLE = 1.0, 2.0
"""Weights of the two terms that the paper publishes for Stable Diffusion."""


class AnisotropyEngineering(Mitigation):
    """AdamW on the embedding, down ``norm(D(x_T, t_first)) + 2 mean_pixels cos(e_u, D)(x_T, t_third-last)``.

    Then the protocol's trajectory with it. The loss is the score of the detector ``asthana2026``, which says how the
    cosine is taken.

    Paper: Asthana, Belagiannis, "Detecting and Mitigating Memorization in Diffusion Models through Anisotropy of the
    Log-Probability", ICLR 2026, arXiv 2601.20642.

    Attributes:
        rate: Of AdamW.
        steps: Of AdamW.
        target: Of the loss, at which the embedding stays; None takes all steps.
    """

    info = MitigationInfo(
        name="asthana2026-mitigation",
        title="embedding of the caption moved down the norm and anisotropy of the score difference",
        paper="asthana2026anisotropy",
        year=2026,
        access="gradient",
        cost="(2 T + 2) F + 2 steps F + 2 steps VJP",
        fidelity="deviates",
        deviation=(
            "the authors publish no code of the mitigation, and no constants of its descent: optimiser, rate and steps "
            "are those of Wen et al. 2024, whose loss it replaces."
        ),
    )
    rate: PositiveFloat = 0.05
    steps: PositiveInt = 10
    target: float | None = None

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: Conditions are no embedding, there is no null branch, or the trajectory is too short.
        """
        from memdet.mitigation.embedding import engineered

        moved = engineered(sampler, _anisotropy(sampler), rate=self.rate, steps=self.steps, target=self.target)
        return sampler.follow(sampler.start(), condition=moved)


def _anisotropy(sampler: Sampler) -> Signal:
    """The loss as a function of the conditions of some items."""
    import torch
    from torch.nn.functional import cosine_similarity

    from memdet.mitigation.descent import norms
    from memdet.models.prediction_type import eps_from_output

    if len(sampler.timesteps) < 3:
        raise NotApplicableError(
            f"the protocol's trajectory has {len(sampler.timesteps)} steps, so none is the third from last"
        )
    x, first, late = sampler.start(), sampler.timesteps[0], sampler.timesteps[-3]
    schedule = sampler.model.schedule
    nulls = [sampler.output(x, t, sampler.null) for t in (first, late)]
    noise = eps_from_output(nulls[1], x, schedule.alpha(late), schedule.sigma(late), sampler.model.prediction_type)
    place = {row: position for position, row in enumerate(sampler.rows)}

    def signal(part: Sampler, condition: Condition) -> Tensor:
        own = torch.tensor([place[row] for row in part.rows], device=x.device)
        early, then = (
            part.difference_of(part.output(x[own], t, condition), null[own], t)
            for t, null in zip((first, late), nulls, strict=True)
        )
        cosine = cosine_similarity(noise[own], then, dim=1, eps=1e-12).reshape(len(own), -1).mean(dim=1)
        return NORM * norms(early) + ANGLE * cosine

    return signal
