"""Each mitigation against a second implementation: one item at a time, torch's own optimisers, plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memdet.detectors.cost import declared_cost
from memdet.errors import NotApplicableError
from memdet.mitigation import make_mitigation, make_mitigations, mitigation_classes
from memdet.mitigation.descent import descend
from memdet.mitigation.methods.sail2025 import SharpnessAwareInitialisation
from tests.helpers.plain_sampling import CONDITIONS, MEANS, Plain, make_sampler

CLASSES = mitigation_classes()
NAMES = ["atom", "cloud", "both"]
UNIT = (6 / 16_384) ** 0.5  # by which norms of these latents are smaller than those of Stable Diffusion


def sampled(text, **options):
    sampler = make_sampler(NAMES, **options)
    return sampler, make_mitigation(text, CLASSES).sample(sampler)


def by_hand(sampler, one):
    """What ``one(plain, start, weights)`` gives for each item."""
    found = []
    for name, start in zip(NAMES, sampler.start(), strict=True):
        plain = Plain(start)
        found.append(one(plain, plain.start, torch.tensor(CONDITIONS[name], dtype=torch.float64)))
    return torch.stack(found)


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def optimised(value, loss, optimiser, steps, target=None):
    """One tensor moved by torch's own optimiser, until the loss has met the target before a step."""
    value = value.detach().clone().requires_grad_(True)
    mover = optimiser([value])
    for _ in range(steps):
        now = loss(value)
        if target is not None and float(now) <= target:
            break
        (value.grad,) = torch.autograd.grad(now, value)
        mover.step()
    return value.detach()


def adamw(rate):
    return lambda values: torch.optim.AdamW(values, lr=rate)


def test_none_is_the_protocol_s_generation():
    sampler, found = sampled("none")
    close(found, by_hand(sampler, lambda plain, x, weights: plain.follow(x, weights)))


def test_reseed_starts_elsewhere_and_ends_as_none_would_from_there():
    sampler, found = sampled("reseed")
    other = sampler.start(1)
    assert (other - sampler.start()).abs().min() > 0
    ends = [Plain(x).follow(x, CONDITIONS[name]) for name, x in zip(NAMES, other, strict=True)]
    close(found, torch.stack(ends))


def test_lower_guidance_halves_the_scale():
    sampler, found = sampled("lower-guidance")
    close(found, by_hand(sampler, lambda plain, x, weights: plain.follow(x, weights, 1.5)))


@pytest.mark.parametrize(("t", "late"), [(500, 501), (650, 700), (900, 960)])
def test_static_transition(t, late):
    sampler, found = sampled(f"jain2025-static@t={t}")
    times = Plain(torch.zeros(6)).times
    assert times == sampler.timesteps

    def one(plain, x, weights):
        return plain.follow(x, weights, lambda index: 3.0 if times[index] <= t else 0.0)

    close(found, by_hand(sampler, one))


def plain_dynamic(before):
    def one(plain, x, weights):
        norms, left = [], False
        for index, t in enumerate(plain.times):
            null, gap = plain.eps(x, t, [1.0, 4.0, 15.0]), plain.difference(x, t, weights)
            norms.append(float(gap.detach().norm()))
            left = left or (index >= 2 and norms[-2] < norms[-3] and norms[-2] < norms[-1])
            x = plain.move(index, x, (null + (3.0 if left else before) * gap).detach())
        return x

    return one


@pytest.mark.parametrize(
    ("text", "before"),
    [("jain2025-dynamic", 0.0), ("jain2025-dynamic@before=1", 1.0), ("jain2025-opposite@transition=dynamic", -2.0)],
)
def test_dynamic_transition(text, before):
    sampler, found = sampled(text)
    close(found, by_hand(sampler, plain_dynamic(before)))


def test_opposite_guidance_until_a_fixed_time():
    sampler, found = sampled("jain2025-opposite")
    times = sampler.timesteps

    def one(plain, x, weights):
        return plain.follow(x, weights, lambda index: 3.0 if times[index] <= 650 else -2.0)

    close(found, by_hand(sampler, one))


@pytest.mark.parametrize("options", ["", "@rho=2000,strength=0.3,rounds=3,first=2"])
def test_batchwise_adjustment(options):
    sampler, found = sampled(f"han2025-batch{options}")
    rho, strength, rounds, first = (2_000, 0.3, 3, 2) if options else (50, 0.7, 2, 4)

    def one(plain, x, weights):
        t = plain.times[0]
        for _ in range(rounds):
            here = plain.difference(x, t, weights).detach()
            moved = plain.difference(x + rho * UNIT * here / here.norm(), t, weights).detach()
            x = x - strength * (moved - here)
        return plain.follow(x, weights, lambda index: 3.0 if index >= first else 0.0)

    close(found, by_hand(sampler, one))


@pytest.mark.parametrize("target", [0.9, 10.0])
def test_per_sample_adjustment(target):
    sampler, found = sampled(f"han2025-sample@steps=6,target={target}")

    def one(plain, x, weights):
        moved = optimised(
            x, lambda z: plain.difference(z, plain.times[0], weights).norm(), adamw(0.01), 6, target * UNIT
        )
        return plain.follow(moved, weights)

    close(found, by_hand(sampler, one))


def test_a_target_that_is_missed_is_told():
    sampler, _ = sampled("han2025-sample@steps=2,target=0.001")
    assert sampler.whole.notes == ["the target was not met in 2 steps of 3 items"]


@pytest.mark.parametrize("target", [3.0, 14.0])
def test_prompt_engineering(target):
    sampler, found = sampled(f"wen2024-mitigation@target={target}")

    def one(plain, x, weights):
        moved = optimised(
            weights, lambda w: plain.difference(x, plain.times[0], w).norm(), adamw(0.05), 10, target * UNIT
        )
        return plain.follow(x, moved)

    close(found, by_hand(sampler, one))


def test_anisotropy_engineering():
    sampler, found = sampled("asthana2026-mitigation")

    def one(plain, x, weights):
        first, late = plain.times[0], plain.times[-3]
        null = plain.eps(x, late, [1.0, 4.0, 15.0]).detach()

        def loss(w):
            then = plain.difference(x, late, w)
            return plain.difference(x, first, w).norm() + 2 * null @ then / (null.norm() * then.norm())

        return plain.follow(x, optimised(weights, loss, adamw(0.05), 10))

    close(found, by_hand(sampler, one))


def test_reanchoring_leads_away_from_the_caption_and_leaves_others_alone():
    limit = 10.0
    sampler, found = sampled(f"prss2025@threshold={limit}")
    risky = []

    def one(plain, x, weights):
        def norm(w):
            return plain.difference(x, plain.times[0], w).norm()

        risky.append(bool(norm(weights) > limit * UNIT))
        if not risky[-1]:
            return plain.follow(x, weights)
        moved = optimised(weights, norm, adamw(0.05), 10, limit * UNIT)
        return plain.follow(x, moved, null=weights)

    close(found, by_hand(sampler, one))
    assert True in risky
    assert False in risky


def plain_sail(plain, weights, delta=None, weight=0.05):
    t = plain.times[0]

    def loss(x):
        here = plain.score(x, t, weights) - plain.score(x, t, [1.0, 4.0, 15.0])
        step = here / here.norm() if delta is None else delta * here
        there = plain.score(x + step, t, weights) - plain.score(x + step, t, [1.0, 4.0, 15.0])
        return (there - here).square().sum() + weight * x.square().sum()

    return loss


@pytest.mark.parametrize(
    ("options", "delta", "weight", "threshold"),
    [("", None, 0.05, None), ("@delta=0.2,weight=0.0,steps=4", 0.2, 0.0, None), ("@threshold=900", None, 0.05, 900)],
)
def test_sharpness_aware_initialisation(options, delta, weight, threshold):
    sampler, found = sampled(f"sail2025{options}")
    steps = 4 if "steps" in options else 10

    def one(plain, x, weights):
        target = None if threshold is None else threshold * UNIT**2
        mover = lambda values: torch.optim.Adam(values, lr=0.05)  # noqa: E731
        return plain.follow(optimised(x, plain_sail(plain, weights, delta, weight), mover, steps, target), weights)

    close(found, by_hand(sampler, one))


def test_the_gradient_of_sail_is_that_of_finite_differences():
    method, sampler = SharpnessAwareInitialisation(), make_sampler(NAMES)
    x = sampler.start().requires_grad_(True)
    slope = sampler.gradient(method.loss(sampler, x), x)
    h, x = 1e-5, x.detach()
    for position in range(6):
        step = torch.zeros_like(x)
        step[:, position] = h
        up, down = method.loss(sampler, x + step), method.loss(sampler, x - step)
        torch.testing.assert_close((up - down) / (2 * h), slope[:, position], rtol=1e-5, atol=1e-8)


def test_sail_lowers_the_curvature_that_it_minimises():
    """``norm(H_D s_D)``, exact, is smaller where x_T has moved to, and so is what the loss takes for it."""
    far = torch.tensor([[6.0, -4.0, 2.0, 0.0, 4.0, -2.0], *MEANS[1:]], dtype=torch.float64)
    sampler = make_sampler(["atom", "atom", "atom", "both"], seed=3, means=far)
    method = SharpnessAwareInitialisation(weight=0.0, delta=1e-3, steps=10, rate=0.2)
    before = sampler.start()
    after = descend(sampler, before, method.loss, rate=method.rate, steps=method.steps)
    t, model = sampler.timesteps[0], sampler.model

    def sharpness(x):
        difference = sampler.score_difference(x, t)
        products = [model.exact_hessian_product(x, t, one, difference) for one in (sampler.condition, sampler.null)]
        return (products[0] - products[1]).norm(dim=1)

    assert (sharpness(after) < 0.5 * sharpness(before)).all()
    torch.testing.assert_close(method.loss(sampler, before).sqrt() / 1e-3, sharpness(before), rtol=1e-2, atol=1e-6)


@pytest.mark.parametrize("threshold", [20.0, 18.0])
def test_sail_as_its_code_does_it(threshold):
    """The direction stays that of the first noise; candidates of one item descend side by side."""
    sampler = make_sampler(NAMES)
    found = make_mitigation(f"sail2025@of=code,candidates=2,steps=3,rounds=20,threshold={threshold}", CLASSES).sample(
        sampler
    )
    rounds = []

    def one(plain, x, weights):
        t, position = plain.times[0], len(rounds)
        for round_ in range(20):
            limit = (threshold + 0.1 * round_) * UNIT
            start = torch.stack([sampler.start(draw)[position] for draw in (2 * round_, 2 * round_ + 1)])
            moving = start.clone().requires_grad_(True)
            mover = torch.optim.Adam([moving], lr=0.05)
            for _ in range(3):
                losses = []
                for k in range(2):
                    at_start = start[k] + moving[k] - moving[k].detach()
                    here = plain.difference(at_start, t, weights)
                    there = plain.difference(moving[k] + here / here.norm(), t, weights)
                    losses.append(there.norm() + 0.05 * moving[k].norm())
                met = [k for k in range(2) if float(losses[k].detach()) <= limit]
                if met:
                    rounds.append(round_)
                    return plain.follow(moving[met[0]].detach(), weights)
                (moving.grad,) = torch.autograd.grad(sum(losses), moving)
                mover.step()
        raise AssertionError("no candidate")

    close(found, by_hand(sampler, one))
    assert len(rounds) == 3


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_items_do_not_depend_on_each_other(name):
    alone = make_sampler(["cloud"], noise="shared")
    together = make_sampler(["atom", "cloud", "both"], noise="shared")
    try:
        found = CLASSES[name]().sample(together)
    except NotApplicableError:
        pytest.skip("a mixture is not enough for it")
    # Random draws of a method go by the item's name, which its position decides here.
    assert found.shape == (3, 6)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(CLASSES[name]().sample(alone)[0], found[1], rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_nothing_costs_more_than_it_declares(name):
    sampler, method = make_sampler(NAMES), CLASSES[name]()
    try:
        method.sample(sampler)
    except NotApplicableError:
        pytest.skip("a mixture is not enough for it")
    options = {key: value for key in method.option_types() if isinstance(value := getattr(method, key), int | float)}
    declared = declared_cost(method.info.cost, options | {"T": len(sampler.timesteps)})
    price = sampler.whole.price
    for unit, paid in (("F", price.forwards), ("JVP", price.jvps), ("VJP", price.vjps)):
        assert (paid <= declared[unit]).all(), (unit, paid, declared[unit])
    assert price.forwards.min() > 0


def test_the_cost_of_a_descent_that_takes_all_steps_is_the_declared_one():
    sampler, _ = sampled("sail2025@steps=5")
    price = sampler.whole.price
    assert price.forwards.tolist() == [2 * 8 + 4 * 5] * 3
    assert price.vjps.tolist() == [4 * 5] * 3


def test_an_item_that_has_met_its_target_pays_no_more():
    sampler, _ = sampled("wen2024-mitigation@target=1e6")
    assert sampler.whole.price.vjps.tolist() == [0, 0, 0]
    assert sampler.whole.price.forwards.tolist() == [2 * 8 + 1 + 1] * 3


def test_noise_on_the_embedding_is_the_item_s_own_and_as_large_as_asked():
    from memdet.mitigation.methods.somepalli2023 import RandomisedCaption

    one, other = (make_sampler(NAMES, seed=seed) for seed in (0, 1))
    method = RandomisedCaption(change="noise", scale=0.01)
    moved = [method._noisy(sampler).tensor - sampler.embedding for sampler in (one, one, other)]
    assert torch.equal(moved[0], moved[1])
    assert (moved[0] - moved[2]).abs().min() > 0
    assert 0.002 < float(moved[0].std()) < 0.03


def test_every_run_has_the_controls_that_all_are_compared_with():
    labels = [one.label for one in make_mitigations(["*"], CLASSES)]
    assert labels[:2] == ["none", "reseed"]
    assert set(labels[2:]) == {name for name, cls in CLASSES.items() if not cls.info.is_control}


def test_random_draws_go_by_seed_item_and_name():
    sampler = make_sampler(NAMES)
    first = [generator.random() for generator in sampler.random("a")]
    assert first == [generator.random() for generator in sampler.random("a")]
    assert len({*first, *(generator.random() for generator in sampler.random("b"))}) == 6
    assert np.all(np.array(first) < 1)
