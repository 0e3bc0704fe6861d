"""Steps of unusual length along the trajectory ("Broken Memories", KDD 2026)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe

SMALLEST_SPREAD = 1e-6  # of the mean length; below it a spread is rounding


class StepLengthOutlier(Detector):
    """``max_t abs(norm(z_t - z_{t+1}) - mu_t) / sd_t`` along the guided trajectory.

    Paper: Huang, Zhang, Chen, Li, Hong, You, Yang, "Broken Memories", KDD 2026, arXiv 2605.22050.
    ``norm(z_t - z_{t+1})`` is the length of a step. mu_t and sd_t are the mean and the sample standard deviation of
    this length over reference prompts that are not memorized. Here the reference is the dev items with label 0, under
    the same seed; no test item is ever used. Steps with sd_t = 0 are left out.

    Attributes:
        first: Number of steps that count, from the noise on; none means all. The paper's early variant takes 3.
    """

    info = DetectorInfo(
        name="broken-memories",
        title="largest z-score of the step lengths of the guided trajectory",
        paper="huang2026broken",
        year=2026,
        access="score",
        cost="2 first F (1 F less with shared noise)",
        fidelity="faithful",
        headline=Headline(guidance=7.5, source="all 50 steps; the early variant is first=3"),
    )
    first: PositiveInt | None = None

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        mean, deviation = probe.calibrate(self.label, self._reference)
        z = (self._lengths(probe) - mean).abs() / deviation
        largest: Tensor = z.where(deviation > SMALLEST_SPREAD * mean, 0.0).amax(dim=1)
        return largest

    def _lengths(self, probe: Probe) -> Tensor:
        """Length of each step that counts, ``[batch, steps]``."""
        import torch

        trajectory = probe.trajectory()
        steps = len(trajectory.timesteps) if self.first is None else self.first
        if steps > len(trajectory.timesteps):
            raise NotApplicableError(f"the protocol's trajectory has {len(trajectory.timesteps)} steps, not {steps}")
        states = [trajectory.state(index).double().flatten(1) for index in range(steps + 1)]
        lengths = [(after - before).norm(dim=1) for before, after in zip(states, states[1:], strict=False)]
        return torch.stack(lengths, dim=1)

    def _reference(self, dev: Probe) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each step's length over what is not memorized, ``[steps]`` each."""
        chosen = [index for index, label in enumerate(dev.labels) if label == 0]
        if len(chosen) < 2:
            raise NotApplicableError(f"a reference takes two dev items that are not memorized, there are {len(chosen)}")
        lengths = self._lengths(dev)[chosen]
        mean, deviation = lengths.mean(dim=0), lengths.std(dim=0)
        if not (deviation > SMALLEST_SPREAD * mean).any():
            raise NotApplicableError("the reference items of the dev split do not differ at any step")
        return mean, deviation
