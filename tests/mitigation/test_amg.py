"""Guidance away from training images against plain loops, and against what it must do in closed form."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from memdet.errors import NotApplicableError
from memdet.mitigation.controls.none import NoMitigation
from memdet.mitigation.methods.amg2024 import AntiMemorizationGuidance, _variance
from memdet.models import GaussianMixture, NoiseSchedule
from tests.helpers.naive import ALPHA_BAR
from tests.helpers.plain_sampling import CONDITIONS, MEANS, NULL, STDS, Plain, make_sampler
from tests.helpers.problems import scaled_linear_betas

NAMES = ["atom", "cloud", "both"]


class Known(GaussianMixture):
    """A mixture whose training images are known; they are its latents."""

    bank = torch.empty(0)

    def training_images(self):
        return self.bank

    def encode(self, images):
        return images


def sampler_with(bank, *, steps=40, **options):
    mixture = Known(
        "known",
        means=torch.tensor(MEANS, dtype=torch.float64),
        stds=STDS,
        weights=NULL,
        conditions=CONDITIONS,
        schedule=NoiseSchedule.from_betas(scaled_linear_betas()),
    )
    mixture.bank = bank
    return make_sampler(NAMES, model=mixture, steps=steps, **options)


def scattered():
    """The planted atom among sixty others."""
    others = torch.from_numpy(np.random.default_rng(5).normal(size=(60, 6)))
    return torch.cat([others, torch.tensor(MEANS[:1], dtype=torch.float64)])


def by_hand(sampler, bank, start, weights, strength, neighbours):
    """One item; the derivative by autograd, the variance of a step from the betas. Also how often it was pushed."""
    plain, betas, x, begun, pushed = Plain(start, steps=40), scaled_linear_betas(), start, False, 0
    for index, t in enumerate(plain.times):
        base = plain.eps(x, t, NULL)
        after = plain.move(index, x, (base + 3.0 * (plain.eps(x, t, weights) - base)).detach())
        if t <= 250:
            drawn = sampler.random_of_seed(f"amg2024 {t}").standard_normal(bank.shape, dtype="float32")
            alpha, sigma = plain.levels(t)
            noised = [alpha * z + sigma * n for z, n in zip(bank, torch.from_numpy(drawn).double(), strict=True)]
            ordered = sorted((float(((x - z) ** 2).mean().sqrt()), number) for number, z in enumerate(noised))
            usual = 0.5 * sum(distance for distance, _ in ordered[:neighbours]) / neighbours
            at = x.clone().requires_grad_(True)
            ratio = ((at - noised[ordered[0][1]]) ** 2).mean().sqrt() / usual
            (slope,) = torch.autograd.grad(ratio, at)
            ratio, threshold = float(ratio.detach()), 1.5 + 0.45 * (1 - math.exp(-0.025 * t))
            variance = betas[t] * (1 - ALPHA_BAR[t - 1]) / (1 - ALPHA_BAR[t])
            if begun and ratio < threshold:
                after, pushed = after + strength * 6 / 3_072 * (threshold - ratio) * variance * slope, pushed + 1
            begun = begun or ratio < 1.5
        x = after
    return x, pushed


@pytest.mark.parametrize(("strength", "neighbours"), [(80_000.0, 50), (3.0, 5)])
def test_guidance_by_plain_loops(strength, neighbours):
    bank = scattered()
    sampler = sampler_with(bank)
    found = AntiMemorizationGuidance(strength=strength, neighbours=neighbours).sample(sampler)
    ends = [
        by_hand(sampler, bank, start, torch.tensor(CONDITIONS[name], dtype=torch.float64), strength, neighbours)
        for name, start in zip(NAMES, sampler.start(), strict=True)
    ]
    torch.testing.assert_close(found, torch.stack([end for end, _ in ends]), rtol=1e-8, atol=1e-9)
    assert ends[0][1] > 0


def test_a_copy_is_not_given_back_and_what_is_far_from_everything_is_as_it_was():
    atom = torch.tensor(MEANS[0], dtype=torch.float64)
    plain = NoMitigation().sample(sampler_with(scattered()))
    strong = AntiMemorizationGuidance(strength=80_000 * 512)  # six numbers
    found = strong.sample(sampler_with(scattered()))
    assert (plain[0] - atom).square().mean().sqrt() < 0.1
    assert (found[0] - atom).square().mean().sqrt() > 0.3
    crowd = torch.full((60, 6), 40.0, dtype=torch.float64)  # of which none is nearer than the others
    torch.testing.assert_close(strong.sample(sampler_with(crowd)), plain, rtol=0, atol=0)


def test_the_ratio_of_two_images_in_closed_form():
    """Without noise, at a third of the way between two: d and 2 d, so 1 / (.5 1.5)."""
    bank = torch.tensor([[0.0] * 6, [3.0] * 6], dtype=torch.float64)
    sampler, x = sampler_with(bank), torch.ones(3, 6, dtype=torch.float64)
    sampler.model.schedule.alphas[0], sampler.model.schedule.sigmas[0] = 1.0, 0.0
    ratio, slope = AntiMemorizationGuidance(neighbours=2)._nearness(sampler, bank, x, 0)
    torch.testing.assert_close(ratio, torch.full((3,), 4 / 3, dtype=torch.float64))
    # d is the root of a mean of six: its derivative is 1 / 6 in each place, over the mean that is held fixed
    torch.testing.assert_close(slope, torch.full((3, 6), (1 / 6) / 0.75, dtype=torch.float64))


@pytest.mark.parametrize("t", [1, 100, 250])
def test_the_variance_is_that_of_ddpm_s_posterior(t):
    betas = scaled_linear_betas()
    found = _variance(sampler_with(scattered()), t)
    assert found == pytest.approx(betas[t] * (1 - ALPHA_BAR[t - 1]) / (1 - ALPHA_BAR[t]), rel=1e-9)


def test_unknown_or_too_few_training_images_are_not_applicable():
    with pytest.raises(NotApplicableError, match="no training images"):
        AntiMemorizationGuidance().sample(make_sampler(NAMES))
    with pytest.raises(NotApplicableError, match="50 neighbours are asked for, and 20 training images are known"):
        AntiMemorizationGuidance().sample(sampler_with(scattered()[:20]))
