"""Distance of the one-step prediction from the noise it started at (Webster 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo, Headline

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class OneStepDistance(Detector):
    """``mean (z_0 - x0_hat)^2``: how far one Euler step from the largest noise level moves.

    ``z_0 = sigma_max n`` is the starting noise n in variance-exploding units, with ``sigma_max = sigma / alpha`` at the
    last timestep of the schedule. ``x0_hat = z_0 - sigma_max e``, with e the guided prediction there.

    Paper: Webster, "A Reproducible Extraction of Training Images from Diffusion Models", 2023, arXiv 2305.08694, the
    denoising confidence score of its white-box attack. For a memorized prompt, one step gives the copy at full
    contrast; for other prompts it gives a blurred mean. A larger distance therefore means memorized, and the paper
    takes the highest scores. The network sees ``sigma n``, as in the official code. Guidance is that of the protocol.
    """

    info = DetectorInfo(
        name="webster2023",
        title="squared length of one Euler step from the largest noise level",
        paper="webster2023reproducible",
        year=2023,
        version=2,
        access="score",
        cost="2 F (1 F less with shared noise)",
        fidelity="faithful",
        headline=Headline(guidance=7.5, source="one Euler step, as the white-box attack"),
    )

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        probe.trajectory()  # it starts from noise, not from an image
        schedule = probe.model.schedule
        t = len(schedule.alphas) - 1
        probe.refuse_pure_noise(t)  # infinite noise, in units of variance exploding
        alpha, sigma = schedule.alpha(t), schedule.sigma(t)
        x = probe.step(("webster2023",), lambda noise, _: sigma * noise, probe.noise, probe.noise)
        cond, null = probe.both(x, t)
        eps = (null + probe.guidance * (cond - null)).double()
        distance: Tensor = (sigma / alpha * eps).flatten(1).square().mean(dim=1)
        return distance
