"""A starting noise moved until the first prediction follows the caption little (Han et al., NeurIPS 2025)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveFloat, PositiveInt

from memdet.mitigation.base import Mitigation, MitigationInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.mitigation.sampler import Sampler

DECAY = 0.01  # of the weights, torch's default of AdamW


class PerSampleAdjustment(Mitigation):
    """AdamW on x_T, down ``norm(D)`` at the first timestep until it is at most .9; then the protocol's trajectory.

    Paper: Han, Kim, Joo, Hong, Lee, "Adjusting Initial Noise to Mitigate Memorization in Text-to-Image Diffusion
    Models", NeurIPS 2025, arXiv 2510.08625, appendix A, with the constants of the authors' command.

    Attributes:
        rate: Of AdamW.
        target: Norm at which x_T stays. It is that of 4 x 64 x 64 latents; for others it is scaled as norms are.
        steps: Of AdamW, at most.
    """

    info = MitigationInfo(
        name="han2025-sample",
        title="starting noise moved until the first score difference is small",
        paper="han2025adjusting",
        year=2025,
        access="gradient",
        cost="2 T F + 2 steps F + 2 steps VJP",
        fidelity="deviates",
        deviation=(
            "the authors go on until the target is met, however long; here the descent ends after steps, and a note "
            "says so. The target is scaled to the number of latents."
        ),
    )
    rate: PositiveFloat = 0.01
    target: PositiveFloat = 0.9
    steps: PositiveInt = 100

    def sample(self, sampler: Sampler) -> Tensor:
        """Clean latents, one an item.

        Raises:
            NotApplicableError: The model has no null branch.
        """
        from memdet.mitigation.descent import descend, norms

        t, target, lowest = sampler.timesteps[0], self.target * sampler.unit(), dict[int, float]()

        def loss(part: Sampler, x: Tensor) -> Tensor:
            found = norms(part.difference(x, t))
            lowest.update(zip(part.rows, found.tolist(), strict=True))
            return found

        start = sampler.start()
        moved = descend(sampler, start, loss, rate=self.rate, steps=self.steps, target=target, decay=DECAY)
        if missed := sum(value > target for value in lowest.values()):
            sampler.note(f"the target was not met in {self.steps} steps of {missed} items")
        return sampler.follow(moved)
