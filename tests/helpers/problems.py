"""Seeded problems that several test folders share, and closed forms written a second time, by other means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from memdet.models import GaussianMixture, NoiseSchedule, ScoreModel
from memdet.probing import Context, Items, Policy, Probe, SeedMemory
from memdet.samplesets import Protocol

# Component weights are given for the null branch and for each condition; a zero is a component that is ruled out.
MIXTURES = {
    "more components than dimensions": {
        "means": [[0.4, -1.0], [-0.7, 0.2], [1.1, 0.9], [0.0, 0.3], [-0.2, -0.8]],
        "stds": [0.5, 0.1, 0.8, 0.0, 0.3],
        "weights": [0.2, 0.1, 0.4, 0.1, 0.2],
        "conditions": {"some": [0.0, 0.3, 0.0, 0.2, 0.5], "tight": [0.0, 0.9, 0.1, 0.0, 0.0]},
        "latent_shape": (2,),
    },
    "fewer components than dimensions": {
        "means": [[0.6, -0.2, 0.1, 0.9, -0.4, 0.0], [-0.5, 0.7, 0.3, -0.8, 0.2, 0.5], [0.1, 0.1, -0.6, 0.2, 0.3, -0.9]],
        "stds": [0.7, 0.0, 0.2],
        "weights": [0.5, 0.2, 0.3],
        "conditions": {"some": [0.3, 0.0, 0.7], "point": [0.1, 0.9, 0.0]},
        "latent_shape": (1, 2, 3),
    },
}


def scaled_linear_betas() -> np.ndarray:
    """Betas of Stable Diffusion: evenly spaced in their square roots."""
    return np.linspace(0.00085**0.5, 0.012**0.5, 1_000) ** 2


def make_mixture(name: str, cls: type[GaussianMixture] = GaussianMixture, **options) -> GaussianMixture:
    """A mixture of ``MIXTURES``, in float64 and under Stable Diffusion's schedule unless said otherwise."""
    parameters = MIXTURES[name] | {"schedule": NoiseSchedule.from_betas(scaled_linear_betas())} | options
    means = torch.tensor(parameters.pop("means"), dtype=torch.float64)
    return cls(name, means, **parameters)


def log_density(x: Tensor, name: str, weights: Sequence[float], alpha: float, sigma: float) -> Tensor:
    """Log density of one flat noisy sample, from torch.distributions."""
    chosen = [index for index, weight in enumerate(weights) if weight > 0]
    means = torch.tensor(MIXTURES[name]["means"], dtype=torch.float64)[chosen]
    stds = torch.tensor(MIXTURES[name]["stds"], dtype=torch.float64)[chosen]
    scale = (alpha**2 * stds**2 + sigma**2).sqrt()[:, None].expand_as(means)
    components = torch.distributions.Independent(torch.distributions.Normal(alpha * means, scale), 1)
    mix = torch.distributions.Categorical(torch.tensor([weights[index] for index in chosen], dtype=torch.float64))
    return torch.distributions.MixtureSameFamily(mix, components).log_prob(x)


def exact_score(x: Tensor, name: str, weights: Sequence[float], alpha: float, sigma: float) -> Tensor:
    """Gradient of the log density of one flat sample by autograd."""
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(log_density(x, name, weights, alpha, sigma), x)[0]


def exact_hessian(x: Tensor, name: str, weights: Sequence[float], alpha: float, sigma: float) -> Tensor:
    """Hessian of the log density of one flat sample by autograd."""
    return torch.autograd.functional.hessian(lambda z: log_density(z, name, weights, alpha, sigma), x.detach())


class CountingMixture(GaussianMixture):
    """Counts the rows of every evaluation, and which timestep and branch they belong to."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.calls: list[tuple[int, str, int]] = []

    @property
    def rows(self) -> int:
        """All rows evaluated so far."""
        return sum(rows for *_, rows in self.calls)

    def null_rows(self, t: int) -> int:
        """Rows of the null branch at one timestep."""
        return sum(rows for step, branch, rows in self.calls if step == t and branch == "null")

    def predict(self, x, t, embedding):
        null = bool((embedding.tensor == self.embed_null().tensor).all())
        self.calls.append((t, "null" if null else "cond", len(x)))
        return super().predict(x, t, embedding)


def make_items(conditions: Sequence[str], *, has_prompts: bool = False, labels: Sequence[int] | None = None) -> Items:
    """A batch whose ids, clusters and labels follow from the positions of its conditions."""
    n = len(conditions)
    ids = [f"item-{index}" for index in range(n)]
    return Items(ids, list(conditions), ids, labels or [index % 2 for index in range(n)], has_prompts)


def make_probe(
    model: ScoreModel | None,
    items: Items,
    *,
    seed: int = 0,
    steps: int = 50,
    guidance: float = 7.5,
    noise: Literal["shared", "per-item"] = "shared",
    n_items: int | None = None,
    memory: SeedMemory | None = None,
    memo: bool = True,
    check: bool = True,
    join: bool = True,
    dev: Items | None = None,
    kind: type[Probe] = Probe,
) -> Probe:
    """A probe whose protocol and policy are said in words."""
    protocol = Protocol(steps=steps, guidance=guidance, seeds=1, noise=noise)
    policy = Policy(memo=memo, self_check=check, join_branches=join)
    return kind(model, items, Context(protocol, seed, n_items, policy), memory=memory, dev=dev)


def select(items: Items, order: Sequence[int]) -> Items:
    """The items at these positions, in this order."""
    return Items(
        [items.ids[i] for i in order],
        [items.conditions[i] for i in order],
        [items.clusters[i] for i in order],
        [items.labels[i] for i in order],
        items.has_prompts,
    )
