"""Magnitude of the text-conditional noise prediction (Wen et al., ICLR 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ScoreDifferenceNorm(Detector):
    """Mean over the first ``steps`` guided steps of ``norm(eps_c - eps_u)``.

    Paper: Wen, Liu, Chen, Lyu, "Detecting, Explaining, and Mitigating Memorization in Diffusion Models", ICLR 2024. The
    norm is taken over all latent dimensions; steps follow the protocol's guided trajectory and no step beyond the last
    one that counts is computed.

    Attributes:
        steps: How many steps, 1 to the length of the protocol's trajectory.
    """

    info = DetectorInfo(
        name="wen2024",
        title="norm of the score difference, mean over the first guided steps",
        paper="wen2024detecting",
        year=2024,
        access="score",
        cost="2 steps F (1 F less with shared noise)",
    )
    steps: PositiveInt = 1

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        trajectory = probe.trajectory()
        if self.steps > len(trajectory.timesteps):
            raise NotApplicableError(
                f"the protocol's trajectory has {len(trajectory.timesteps)} steps, not {self.steps}"
            )
        total: Tensor | None = None
        for index, t in enumerate(trajectory.timesteps[: self.steps]):
            norm = probe.difference(trajectory.state(index), t).double().flatten(1).norm(dim=1)
            total = norm if total is None else total + norm
        assert total is not None
        return total / self.steps
