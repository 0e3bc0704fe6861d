"""Membership by the error of a deterministic step there and back (SecMI, Duan et al., ICML 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class StepwiseError(Detector):
    """``-norm(back(there(x_t)) - x_t)``: a DDIM step from t to t + stride and back, at the image inverted to t.

    Paper: Duan et al., "Are Diffusion Models Vulnerable to Membership Inference Attacks?", ICML 2023, arXiv 2302.01316,
    statistic SecMI_stat. A step from a to b is ``x_b = alpha_b x0_hat + sigma_b e`` with
    ``x0_hat = (x_a - sigma_a e) / alpha_a`` and ``e = e_c(x_a, a)``. The image counts as x at timestep 0. It is
    inverted by such steps of ``stride`` timesteps; with the default options, which are the paper's, there are ten. If
    the stride does not divide t, the last step is shorter. The paper squares the norm, which does not change the order
    of the items. No noise is drawn.

    Attributes:
        t: Timestep at which the error is taken.
        stride: Number of timesteps per step.
    """

    info = DetectorInfo(
        name="secmi",
        title="minus the error of one deterministic step there and back",
        paper="duan2023secmi",
        year=2023,
        access="score",
        task="image",
        cost="(t / stride + 2) F",
        seeded=False,
        fidelity="faithful",
        headline=Headline("t=100,stride=10", source="the paper's timestep and stride"),
    )
    t: PositiveInt = 100
    stride: PositiveInt = 10

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        model = probe.model
        x, last = probe.images.to(model.device, model.dtype), len(model.schedule.alphas) - 1
        if self.t + self.stride > last:
            raise NotApplicableError(f"the step from {self.t} to {self.t + self.stride} leads past timestep {last}")
        times = [*range(0, self.t, self.stride), self.t]
        for start, end in zip(times, times[1:], strict=False):
            x = _step(probe, x, start, end)
        further = self.t + self.stride
        again = _step(probe, _step(probe, x, self.t, further), further, self.t)
        error: Tensor = (again - x).double().flatten(1).norm(dim=1)
        return -error


def _step(probe: Probe, x: Tensor, start: int, end: int) -> Tensor:
    schedule, eps = probe.model.schedule, probe.eps(x, start, "cond")
    clean = (x - schedule.sigma(start) * eps) / schedule.alpha(start)
    return schedule.alpha(end) * clean + schedule.sigma(end) * eps
