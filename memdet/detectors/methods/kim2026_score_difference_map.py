"""Map of squared score differences (Kim and Lee, ICML 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ScoreDifferenceMap(Detector):
    """Mean over pixels of ``sum_channels (s_c - s_u)^2`` at the last step of the guided trajectory.

    Paper: Kim, Lee, "Localizing Memorized Regions in Diffusion Models via Coordinate-Wise Curvature Differences", ICML
    2026, arXiv 2605.26756, Equation 5: the magnitude of Wen et al. (2024), pixel by pixel, without a Jacobian product.
    The paper reports a mean IoU of .830 with the memorized regions. ``map`` gives the map. The score is its mean over
    pixels, which is memdet's choice.

    Attributes:
        t: Timestep, the nearest on the guided trajectory; none means its last step, as in the paper.
    """

    info = DetectorInfo(
        name="score-difference-map",
        title="mean of the map of squared score differences, last step",
        paper="kim2026localizing",
        year=2026,
        access="score",
        cost="2 T F (1 F less with shared noise)",
        fidelity="faithful",
        headline=Headline(guidance=7.5, source="Equation 5; reported as IoU of the map"),
    )
    t: int | None = None

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        d = probe.model.latent_shape[0] if len(probe.model.latent_shape) == 3 else 1
        return self._squares(probe).flatten(1).mean(dim=1) * d

    def map(self, probe: Probe) -> Tensor:
        """Where an item is memorized, ``[batch, height, width]`` in latent pixels.

        Raises:
            NotApplicableError: The model's samples are not images.
        """
        if len(probe.model.latent_shape) != 3:
            raise NotApplicableError(f"{probe.model.name} does not generate images, so there is no map of one")
        return self._squares(probe).sum(dim=1)

    def _squares(self, probe: Probe) -> Tensor:
        """``(s_c - s_u)^2``, ``[batch, *latent_shape]``."""
        x, t = probe.at(probe.timesteps[-1] if self.t is None else self.t, probe.guidance)
        return (probe.difference(x, t).double() / probe.model.schedule.sigma(t)).square()
