"""A starting noise stepped down the sharpness of the conditional guidance (Han et al., NeurIPS 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler


class BatchwiseAdjustment(Mitigation):
    """``x <- x - g (D(x + rho D(x) / norm(D(x))) - D(x))``, twice; then the null branch for some steps, then guidance.

    D at the first timestep. The step is the one that sharpness-aware minimisation takes for the norm of D, without a
    gradient: where D is smaller, the trajectory leaves the attraction basin sooner, so that guidance may set in sooner.

    Paper: Han, Kim, Joo, Hong, Lee, "Adjusting Initial Noise to Mitigate Memorization in Text-to-Image Diffusion
    Models", NeurIPS 2025, arXiv 2510.08625, algorithm 1, with the constants of the authors' command.

    Attributes:
        rho: Length of the step at whose end D is compared. It is that of 4 x 64 x 64 latents, whose noise has norm 128;
            for others it is scaled as norms are.
        strength: g.
        rounds: Steps of the noise.
        first: Steps of the trajectory that follow the null branch alone.
    """

    info = MitigationInfo(
        name="han2025-batch",
        title="starting noise stepped down the sharpness of the score difference, late guidance",
        paper="han2025adjusting",
        year=2025,
        access="score",
        cost="4 rounds F + 2 T F",
        fidelity="faithful",
    )
    rho: PositiveFloat = 50.0
    strength: PositiveFloat = 0.7
    rounds: PositiveInt = 2
    first: NonNegativeInt = 4

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The model has no null branch.
        """
        return sampler.follow(
            self.adjusted(sampler), scale=lambda index: 0.0 if index < self.first else sampler.guidance
        )

    def adjusted(self, sampler: Sampler) -> Tensor:
        """The starting noise after all rounds."""
        from memdet.mitigation.descent import norms

        x, t, rho = sampler.start(), sampler.timesteps[0], self.rho * sampler.unit()
        for _ in range(self.rounds):
            here = sampler.difference(x, t)
            length = norms(here).clamp_min(1e-12).view(-1, *[1] * (x.ndim - 1))
            x = x - self.strength * (sampler.difference(x + rho * here / length, t) - here)
        return x
