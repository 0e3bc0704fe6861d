"""Steps of ordinary length against plain loops."""

from __future__ import annotations

import statistics

import pytest
import torch

from memdet.errors import NotApplicableError
from memdet.mitigation.controls.none import NoMitigation
from memdet.mitigation.methods.broken_memories_mitigation import StableSteps
from memdet.probing import Items
from tests.helpers.plain_sampling import CONDITIONS, NULL, Plain, make_sampler

NAMES = ["atom", "cloud", "both"]
DEV = ["cloud", "both", "atom", "cloud"]
ORDINARY = [0, 1, 3]


def dev_items(labels=(0, 0, 1, 0)):
    names = [f"dev-{position}" for position in range(len(labels))]
    return Items(names, DEV[: len(labels)], names, list(labels), False)


def starts_of(items, **options):
    """Where the trajectories of items start that are no test items."""
    from memdet.mitigation.sampler import Sampler
    from memdet.probing import Context
    from memdet.samplesets import Protocol
    from tests.helpers.plain_sampling import planted_mixture

    protocol = Protocol(steps=options.get("steps", 8), guidance=3.0, seeds=1, noise="per-item")
    return Sampler.of(planted_mixture(), items, Context(protocol, 0)).start()


def guided(plain, x, t, name):
    base = plain.eps(x, t, NULL)
    return (base + 3.0 * (plain.eps(x, t, torch.tensor(CONDITIONS[name], dtype=torch.float64)) - base)).detach()


def clean(plain, x, t, eps):
    alpha, sigma = plain.levels(t)
    return (x - sigma * eps) / alpha


def reference(steps):
    """By step: mean and standard deviation of lengths, mean norm of the clean sample."""
    found = [([], []) for _ in range(steps)]
    starts = starts_of(dev_items(), steps=steps)
    for row in ORDINARY:
        plain, x = Plain(starts[row], steps=steps), starts[row]
        for index, t in enumerate(plain.times):
            eps = guided(plain, x, t, DEV[row])
            after = plain.move(index, x, eps)
            found[index][0].append(float((after - x).norm()))
            found[index][1].append(float(clean(plain, x, t, eps).norm()))
            x = after
    return [(statistics.mean(a), statistics.stdev(a), statistics.mean(b)) for a, b in found]


def by_hand(start, name, width, steps):
    """One item, and how many of its steps were made again."""
    plain, x, again = Plain(start, steps=steps), start, 0
    for index, (t, (mean, deviation, norm)) in enumerate(zip(plain.times, reference(steps), strict=True)):
        eps = guided(plain, x, t, name)
        after = plain.move(index, x, eps)
        if abs(float((after - x).norm()) - mean) > width * deviation:
            again += 1
            alpha, sigma = plain.levels(t)
            usual = clean(plain, x, t, eps)
            usual = usual * norm / usual.norm()
            after = plain.move(index, x, (x - alpha * usual) / sigma)
            length = float((after - x).norm())
            wanted = min(max(length, mean - width * deviation, 0.0), mean + width * deviation)
            after = x + (after - x) * wanted / length
        x = after
    return x, again


@pytest.mark.parametrize("width", [3.0, 0.8])
def test_steps_by_plain_loops(width):
    sampler = make_sampler(NAMES, dev=dev_items())
    found = StableSteps(width=width).sample(sampler)
    ends = [by_hand(start, name, width, 8) for name, start in zip(NAMES, sampler.start(), strict=True)]
    torch.testing.assert_close(found, torch.stack([end for end, _ in ends]), rtol=1e-8, atol=1e-9)
    assert sum(again for _, again in ends) > 0
    assert sampler.whole.price.forwards.tolist() == [16.0] * 3  # the reference costs nobody anything


def test_a_wide_region_changes_nothing():
    sampler = make_sampler(NAMES, dev=dev_items())
    found = StableSteps(width=1e6).sample(sampler)
    torch.testing.assert_close(found, NoMitigation().sample(make_sampler(NAMES)), rtol=0, atol=0)


def test_of_a_narrow_region_one_step_has_exactly_the_mean_length():
    sampler = make_sampler(NAMES, dev=dev_items(), steps=1)
    found = StableSteps(width=1e-12).sample(sampler)
    mean = reference(1)[0][0]
    torch.testing.assert_close((found - sampler.start()).norm(dim=1), torch.full((3,), mean, dtype=torch.float64))


@pytest.mark.parametrize(
    ("dev", "why"), [(None, "no dev split"), (dev_items((0, 1, 1)), "takes two dev items .* there are 1")]
)
def test_without_a_reference_it_is_not_applicable(dev, why):
    with pytest.raises(NotApplicableError, match=why):
        StableSteps().sample(make_sampler(NAMES, dev=dev))
