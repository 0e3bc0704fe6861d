"""Generation from a small mixture a second time: one item, torch.distributions, plain loops."""

from __future__ import annotations

import torch

from memdet.models import GaussianMixture, NoiseSchedule
from memdet.samplesets import Protocol
from tests.helpers.naive import ALPHA_BAR
from tests.helpers.problems import make_items, scaled_linear_betas

# A planted atom, of which the condition "atom" consists for the most part, in a broad cloud.
MEANS = [[1.5, -1.0, 0.5, 0.0, 1.0, -0.5], [-0.5, 0.6, 0.2, -0.8, 0.1, 0.4], [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]]
STDS = [0.05, 0.5, 1.0]
NULL = [1.0, 4.0, 15.0]
CONDITIONS = {"atom": [18.0, 1.0, 1.0], "cloud": [1.0, 2.0, 17.0], "both": [9.0, 1.0, 10.0]}
END = (1.0, 0.0)  # alpha and sigma of the final sample


def planted_mixture(**options) -> GaussianMixture:
    """Weights are far from 0, where their logarithm has no derivative, and need not sum to 1."""
    parameters = {
        "means": torch.tensor(MEANS, dtype=torch.float64),
        "stds": STDS,
        "weights": NULL,
        "conditions": CONDITIONS,
        "schedule": NoiseSchedule.from_betas(scaled_linear_betas()),
    }
    return GaussianMixture("planted", **(parameters | options))


def make_sampler(  # what a sampler is made of, and how its mixture differs
    conditions=("atom", "cloud", "both"),
    *,
    seed=0,
    steps=8,
    guidance=3.0,
    noise="per-item",
    model=None,
    dev=None,
    **options,
):
    """A sampler of some conditions of the mixture, or of another model."""
    from memdet.mitigation.sampler import Sampler
    from memdet.probing import Context

    protocol = Protocol(steps=steps, guidance=guidance, seeds=1, noise=noise)
    return Sampler.of(model or planted_mixture(**options), make_items(conditions), Context(protocol, seed), dev=dev)


class Plain:
    """One item of :func:`make_sampler`.

    Args:
        start: Its x_T.
        steps: Of the trajectory.
        guidance: Of the protocol.
    """

    def __init__(self, start, steps=8, guidance=3.0):
        self.start, self.guidance = start.detach().clone(), guidance
        self.times = list(range(1, 1_000, 1_000 // steps))[::-1][:steps]

    @staticmethod
    def levels(t):
        return float(ALPHA_BAR[t] ** 0.5), float((1 - ALPHA_BAR[t]) ** 0.5)

    def score(self, x, t, weights):
        """Gradient of the log density of the noisy mixture, itself differentiable in all it is given."""
        alpha, sigma = self.levels(t)
        weights = torch.as_tensor(weights, dtype=torch.float64)
        with torch.enable_grad():
            z = x if x.requires_grad else x.detach().clone().requires_grad_(True)
            scale = (alpha**2 * torch.tensor(STDS, dtype=torch.float64) ** 2 + sigma**2).sqrt()
            normal = torch.distributions.Normal(alpha * torch.tensor(MEANS, dtype=torch.float64), scale[:, None])
            log_density = torch.logsumexp(weights.log() + normal.log_prob(z).sum(1), 0)
            return torch.autograd.grad(log_density, z, create_graph=True)[0]

    def eps(self, x, t, weights):
        return -self.levels(t)[1] * self.score(x, t, weights)

    def difference(self, x, t, weights):
        return self.eps(x, t, weights) - self.eps(x, t, NULL)

    def move(self, index, x, eps):
        """One DDIM step."""
        alpha, sigma = self.levels(self.times[index])
        last = index + 1 == len(self.times)
        ahead, noise = self.end() if last else self.levels(self.times[index + 1])
        return (ahead * (x - sigma * eps) / alpha + noise * eps).detach()

    def end(self):
        return float(planted_mixture().schedule.final_alpha), float(planted_mixture().schedule.final_sigma)

    def follow(self, x, weights, scale=None, null=NULL):
        """The clean sample; ``scale`` is a number, or a function of the step's index."""
        for index, t in enumerate(self.times):
            own = self.guidance if scale is None else scale(index) if callable(scale) else scale
            base = self.eps(x, t, null)
            x = self.move(index, x, (base + own * (self.eps(x, t, weights) - base)).detach())
        return x
