"""The largest noise from which denoising leads back to the same sample."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, PositiveInt

from memdet.detectors.base import Detector, DetectorInfo
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class CriticalScale(Detector):
    """The largest ``sigma_t / alpha_t`` from which denoising leads back to the sample: the width of its basin.

    The sample is the image, or the end of the guided trajectory. Fresh noise of several levels is added to it. From
    each level it is denoised under the condition, without guidance, by the remaining steps of the trajectory. It has
    come back if the distance to the sample is less than ``tolerance`` times the norm of the sample. The levels are
    evenly spaced over the trajectory, and the first is pure noise. The score is interpolated between the largest level
    from which the sample comes back and the next one. A sample that comes back from pure noise gets the scale of that
    level. Memorized samples have wide basins (Pham et al., "Memorization to Generalization: Emergence of Diffusion
    Models from Associative Memory", arXiv 2505.21777).

    Attributes:
        levels: Number of noise levels.
        tolerance: Largest distance that counts as having come back, in norms of the sample.
    """

    info = DetectorInfo(
        name="critical-scale",
        title="largest noise from which denoising returns to the same sample",
        access="score",
        cost="2 T F + 0.5 (levels + 1) T F (images: without the trajectory; levels divide T)",
        fidelity="ours",
    )
    levels: PositiveInt = 5
    tolerance: Annotated[float, Field(gt=0)] = 0.5

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        schedule, timesteps = probe.model.schedule, probe.timesteps
        if self.levels > len(timesteps):
            raise NotApplicableError(f"{self.levels} levels of noise, and the trajectory has {len(timesteps)} steps")
        x, noise = probe.clean(), probe.starting_noise(1)  # another draw than the one that x was made of
        size = x.double().flatten(1).norm(dim=1)
        scales, errors = [0.0], [torch.zeros_like(size)]
        for level in reversed(range(self.levels)):
            index = level * len(timesteps) // self.levels
            alpha, sigma = schedule.alpha(timesteps[index]), schedule.sigma(timesteps[index])
            back = self._denoised(probe, alpha * x + sigma * noise, index)
            scales.append(sigma / alpha if alpha > 0 else math.inf)
            errors.append((back - x).double().flatten(1).norm(dim=1) / size)
        return _last_crossing(scales, torch.stack(errors, dim=1), self.tolerance)

    @staticmethod
    def _denoised(probe: Probe, x: Tensor, first: int) -> Tensor:
        """The end of the unguided trajectory that goes on from the state before one of its steps."""
        schedule = probe.model.schedule
        steps = list(zip(probe.timesteps, schedule.landings(len(probe.timesteps)), strict=True))
        for t, (alpha, sigma) in steps[first:]:
            x = alpha * probe.clean_of(x, t, "cond") + sigma * probe.eps(x, t, "cond")
        return x


def _last_crossing(scales: list[float], errors: Tensor, tolerance: float) -> Tensor:
    """Where the errors pass the tolerance for the last time, by a straight line between two scales, ``[batch]``.

    Args:
        scales: Ascending, the first 0.
        errors: ``[batch, scales]``, the first 0.
        tolerance: Above 0.
    """
    import torch

    places = torch.stack([errors.new_full((), scale) for scale in scales])  # nobody waits for a copy
    below = errors < tolerance
    last = (below * torch.arange(len(scales), device=errors.device)).amax(dim=1, keepdim=True)
    after = (last + 1).clamp(max=len(scales) - 1)
    low, high = errors.gather(1, last), errors.gather(1, after)
    share = torch.where(after > last, (tolerance - low) / torch.where(after > last, high - low, 1.0), 0.0)
    crossing: Tensor = (places[last] + share * (places[after] - places[last]))[:, 0]
    return crossing.where(errors.isfinite().all(dim=1), torch.nan)
