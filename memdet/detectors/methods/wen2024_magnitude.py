"""Magnitude of the text-conditional noise prediction (Wen et al., ICLR 2024)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pydantic import PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ScoreDifferenceNorm(Detector):
    """Mean over the first ``steps`` guided steps of ``norm(eps_c - eps_u)``.

    Paper: Wen, Liu, Chen, Lyu, "Detecting, Explaining, and Mitigating Memorization in Diffusion Models", ICLR 2024. The
    norm is taken over all latent dimensions. Steps follow the protocol's guided trajectory; steps that do not count are
    not computed. With ``t``, the score is the norm at that one time instead.

    Attributes:
        steps: Number of steps, from 1 to the length of the protocol's trajectory.
        t: Timestep on the unguided conditional trajectory, for ``steps=1`` only; none means the first guided steps.
        UserError: ``t`` together with more than one step.
    """

    info = DetectorInfo(
        name="wen2024",
        title="norm of the score difference, mean over the first guided steps",
        paper="wen2024detecting",
        year=2024,
        access="score",
        cost="2 steps F (1 F less with shared noise)",
        fidelity="faithful",
        headline=Headline("steps=50", seeds=4, guidance=7.5, source="mean of all 50 steps, n = 4"),
    )
    steps: PositiveInt = 1
    t: int | None = None

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        if self.t is not None and self.steps != 1:
            raise UserError(f"detector {self.label}: t is one time and steps are the first ones; give one of the two")

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        return self._mean(probe, lambda difference: difference.flatten(1).norm(dim=1))

    def map(self, probe: Probe) -> Tensor:
        """Norm over channels instead of all dimensions, ``[batch, height, width]``.

        Raises:
            NotApplicableError: The model's samples are not images.
        """
        if len(probe.model.latent_shape) != 3:
            raise NotApplicableError(f"{probe.model.name} does not generate images, so there is no map of one")
        return self._mean(probe, lambda difference: difference.norm(dim=1))

    def _mean(self, probe: Probe, norm: Callable[[Tensor], Tensor]) -> Tensor:
        """Mean over the steps of a norm of the score difference."""
        if self.t is not None:
            return norm(probe.difference(*probe.at(self.t, pure_noise=True)).double())
        trajectory = probe.trajectory()
        if self.steps > len(trajectory.timesteps):
            raise NotApplicableError(
                f"the protocol's trajectory has {len(trajectory.timesteps)} steps, not {self.steps}"
            )
        total: Tensor | None = None
        for index, t in enumerate(trajectory.timesteps[: self.steps]):
            value = norm(probe.difference(trajectory.state(index), t).double())
            total = value if total is None else total + value
        assert total is not None
        return total / self.steps
