"""Both branches in one network call: the same predictions, books and sharing as two calls."""

from __future__ import annotations

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.models import load_model
from memdet.probing import SeedMemory, branch_policy
from memdet.probing.branch_policy import joins_branches
from tests.helpers.problems import make_items, make_probe


@pytest.fixture
def calls(random_model, monkeypatch):
    """Rows of every network call."""
    rows = []
    real = random_model.predict
    monkeypatch.setattr(random_model, "predict", lambda x, t, e: (rows.append(len(x)), real(x, t, e))[1])
    return rows


def probe_of(model, noise="per-item", **options):
    items = make_items([f"a red circle {i}" for i in range(3)], has_prompts=True)
    return make_probe(model, items, noise=noise, **options)


def test_one_call_gives_both_and_is_charged_as_two(random_model, calls):
    probe = probe_of(random_model)
    with probe.charge() as cost:
        difference = probe.difference(probe.noise, 981)
        again = probe.difference(probe.noise, 981)
    assert calls == [6]
    assert cost.forwards == 2
    assert torch.equal(difference, again)
    with torch.no_grad():
        null = random_model.embed_null().expand(3)
        cond = random_model.embed([f"a red circle {i}" for i in range(3)])
        expected = random_model.eps(probe.noise, 981, cond) - random_model.eps(probe.noise, 981, null)
    torch.testing.assert_close(difference, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("branch", ["cond", "null"])
def test_a_branch_that_is_known_is_not_evaluated_again(random_model, calls, branch):
    probe = probe_of(random_model)
    with probe.charge() as first:
        probe.eps(probe.noise, 981, branch)
    with probe.charge() as second:
        probe.difference(probe.noise, 981)
    assert calls == [3, 3]
    assert (first.forwards, second.forwards) == (1, 2)


def test_a_shared_null_branch_is_one_row_once_a_seed(random_model, calls):
    memory = SeedMemory()
    for expected in ([3, 1], [3]):
        probe = probe_of(random_model, noise="shared", n_items=30, memory=memory)
        calls.clear()
        with probe.charge() as cost:
            difference = probe.difference(probe.noise, 981)
        assert calls == expected
        assert cost.forwards == pytest.approx(1 + 1 / 30)
        with torch.no_grad():
            null = random_model.eps(probe.noise[:1], 981, random_model.embed_null())
        torch.testing.assert_close(difference, probe.eps(probe.noise, 981, "cond") - null, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("label", "shared", "own"),
    [
        ("curvature-gap@backend=fd", [3, 3, 1, 1, 3, 3], [6, 6, 6, 6]),
        ("curvature-gap", [3, 1, 3, 1, 3, 3], [6, 6, 6, 6]),
        ("jeon2025@backend=fd-one-sided", [3, 1, 6, 3, 6], [6, 6, 6, 6]),
        ("curvature-gap@backend=jvp", [3, 1, 3], [6, 6]),
        ("jeon2025", [3, 1, 6, 3, 6], [6, 6, 6, 6]),
    ],
)
def test_products_of_both_branches_are_one_call(label, shared, own, random_model, calls):
    detector = make_detector(label, detector_classes())

    def scored(noise, **options):
        """Two batches of a seed."""
        calls.clear()
        memory, found = SeedMemory(), []
        for _ in range(2):
            probe = probe_of(random_model, noise, n_items=6, memory=memory, check=False, **options)
            with probe.charge() as cost:
                found.append(detector.score(probe))
        return torch.cat(found), cost.forwards, list(calls)

    for noise, expected in (("shared", shared), ("per-item", own)):
        together, forwards, rows = scored(noise)
        assert rows == expected
        apart, same_forwards, rows = scored(noise, join=False)
        assert max(rows) == 3
        assert forwards == pytest.approx(same_forwards)
        torch.testing.assert_close(together, apart, rtol=5e-3, atol=0)  # differences divide rounding by a small step


def test_large_batches_on_the_cpu_and_closed_forms_are_evaluated_apart(random_model):
    numbers = random_model.latent_shape[0] * random_model.latent_shape[1] * random_model.latent_shape[2]
    most = branch_policy.JOINED_ON_CPU // (2 * numbers)
    assert joins_branches(random_model, most)
    assert not joins_branches(random_model, most + 1)
    assert not joins_branches(load_model("mixture-2d"), 1)


def test_at_the_size_of_stable_diffusion_nothing_is_joined_on_the_cpu(random_model, monkeypatch):
    """A row more would be memory more and no time less; on other devices it depends on nothing but the call."""
    monkeypatch.setattr(random_model, "latent_shape", (4, 64, 64))
    assert not joins_branches(random_model, 1)
    monkeypatch.setattr(random_model, "device", torch.device("cuda"))
    assert joins_branches(random_model, 1)


@pytest.mark.parametrize("noise", ["shared", "per-item"])
def test_scores_and_costs_are_those_of_two_calls(random_model, calls, noise):
    found = []
    for join in (True, False):
        calls.clear()
        probe = probe_of(random_model, noise, join=join)
        with probe.charge() as cost:
            score = make_detector("wen2024@steps=4", detector_classes()).score(probe)
        found.append((score, (cost.forwards, cost.jvps, cost.vjps), sum(calls), len(calls)))
    (one, cost, rows, joined_calls), (two, same_cost, same_rows, two_calls) = found
    torch.testing.assert_close(one, two, rtol=1e-4, atol=0)
    assert (cost, rows) == (same_cost, same_rows)
    assert joined_calls < two_calls


@pytest.fixture
def clock(random_model, monkeypatch):
    """Counts rows of network calls: a second each."""
    seconds = [0.0]
    real = random_model.predict

    def predict(x, t, embedding):
        seconds[0] += len(x)
        return real(x, t, embedding)

    monkeypatch.setattr(random_model, "predict", predict)
    return seconds


def charged(clock, probe, ask):
    """Seconds that a detector is charged, with those that pass while it asks."""
    start, probe.evaluator.clock = clock[0], lambda: clock[0]
    with probe.charge() as cost:
        ask(probe)
    return clock[0] - start + cost.seconds


def difference(probe):
    return probe.difference(probe.noise, 981)


def test_seconds_are_charged_once(random_model, clock):
    probe = probe_of(random_model)
    assert charged(clock, probe, difference) == 6.0
    assert charged(clock, probe, difference) == 6.0
    assert charged(clock, probe, lambda probe: probe.eps(probe.noise, 981, "null")) == 3.0


def test_seconds_of_a_shared_row_are_divided_among_the_items(random_model, clock):
    """Who asks first waits for the row; who asks later pays the part of his items."""
    probe = probe_of(random_model, "shared", n_items=30)
    assert charged(clock, probe, difference) == pytest.approx(3 + 1)
    assert charged(clock, probe, difference) == pytest.approx(3 + 3 / 30)
