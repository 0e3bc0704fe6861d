"""Distance of the one-step prediction from the noise it started at (Webster 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class OneStepDistance(Detector):
    """``mean (x0_hat - x_T)^2`` with ``x0_hat = (x_T - sigma_T e) / alpha_T`` and e the guided prediction.

    Paper: Webster, "A Reproducible Extraction of Training Images from Diffusion Models", 2023, arXiv 2305.08694, the
    denoising confidence score of its white-box attack. A copy is synthesised in one step, at full contrast, where other
    prompts give a blurred mean near zero; so a larger distance means memorized, and the paper takes the highest scores.
    Guidance is that of the protocol: two forwards.

    Attributes:
        scaled: Compare with ``x_T / alpha_T`` instead, as the official code does: its sampler holds latents in
            variance-exploding units, in which x_T has the standard deviation sigma_T / alpha_T. The score then is
            ``(sigma_T / alpha_T)^2 mean e^2``.
    """

    info = DetectorInfo(
        name="webster2023",
        title="distance of the one-step prediction from its starting noise",
        paper="webster2023reproducible",
        year=2023,
        access="score",
        cost="2 F (1 F less with shared noise)",
    )
    scaled: bool = False

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        trajectory = probe.trajectory()
        x, t, eps = trajectory.state(0).double(), trajectory.timesteps[0], trajectory.guided_eps(0).double()
        alpha, sigma = probe.model.schedule.alpha(t), probe.model.schedule.sigma(t)
        noise = x / alpha if self.scaled else x
        distance: Tensor = ((x - sigma * eps) / alpha - noise).flatten(1).square().mean(dim=1)
        return distance
