"""Membership by the conditional likelihood discrepancy (CLiD, Zhai et al., NeurIPS 2024)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import PositiveInt

from memdet.detectors.base import Detector, DetectorInfo, Headline
from memdet.errors import NotApplicableError

if TYPE_CHECKING:
    from torch import Tensor

    from memdet.probing import Probe


class ConditionalLikelihoodDiscrepancy(Detector):
    """``mean_i [L_u(t_i, eps_i) - L_c(t_i, eps_i)]`` with ``L = mean (e(x_t, t) - eps)^2``.

    ``x_t = alpha_t x_0 + sigma_t eps``; u is the null condition and c the item's. Both losses see the same noise, and
    each time has noise of its own.

    Paper: Zhai et al., "Membership Inference on Text-to-image Diffusion Models via Conditional Likelihood Discrepancy",
    NeurIPS 2024, arXiv 2405.14800, Equation 13. A loss stands for minus a log likelihood. The idea: a model overfits
    the conditional distribution (an image given its caption) more than the distribution of images. The times are the
    paper's: 440, 450 and 460.

    Attributes:
        t: Timestep in the middle of the times.
        draws: Number of times, each with its own noise (M and N of the paper).
        stride: Number of timesteps between two times.
    """

    info = DetectorInfo(
        name="clid",
        title="denoising loss of the image without its caption minus that with it",
        paper="zhai2024membership",
        year=2024,
        access="score",
        task="image",
        cost="2 draws F",
        fidelity="deviates",
        deviation=(
            "The paper averages over four shortened captions. Here only the null caption is used (its ablation K = 1), "
            "because shortening needs a model that rates the importance of words. The paper also adds the loss itself, "
            "after scaling both terms by quartiles of the set, with a weight from a shadow model. Here a score depends "
            "on one item alone, so this term is left out."
        ),
        headline=Headline(source="M = N = 3 at 440, 450, 460; four reduced captions and a weight from a shadow model"),
    )
    t: PositiveInt = 450
    draws: PositiveInt = 3
    stride: PositiveInt = 10

    def score(self, probe: Probe) -> Tensor:
        """Score each item, ``[batch]``."""
        import torch

        _ = probe.images  # a prompt has none, and no loss
        schedule = probe.model.schedule
        first = self.t - self.stride * (self.draws - 1) // 2
        times = range(first, first + self.stride * self.draws, self.stride)
        last = len(schedule.alphas) - 1
        if first < 0 or times[-1] > last:
            raise NotApplicableError(f"the times {first} to {times[-1]} do not lie in the schedule, 0 to {last}")
        image, gaps = probe.clean(), []
        for draw, t in enumerate(times):
            noise = probe.starting_noise(draw)
            cond, null = probe.both(schedule.alpha(t) * image + schedule.sigma(t) * noise, t)
            losses = [(eps - noise).double().flatten(1).square().mean(dim=1) for eps in (null, cond)]
            gaps.append(losses[0] - losses[1])
        return torch.stack(gaps).mean(dim=0)
