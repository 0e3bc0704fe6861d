"""Both branches in one network call: the same predictions, books and sharing as two calls."""

from __future__ import annotations

import pytest
import torch
from problems import make_items

from memdet.detectors import detector_classes, make_detector
from memdet.models import load_model
from memdet.probing import Probe, evaluations
from memdet.probing.evaluations import joins_branches


@pytest.fixture
def calls(random_model, monkeypatch):
    """Rows of every network call."""
    rows = []
    real = random_model.predict
    monkeypatch.setattr(random_model, "predict", lambda x, t, e: (rows.append(len(x)), real(x, t, e))[1])
    return rows


def probe_of(model, noise="per-item", **options):
    return Probe(model, make_items([f"a red circle {i}" for i in range(3)], has_prompts=True), noise=noise, **options)


def apart(monkeypatch):
    monkeypatch.setattr(evaluations, "JOINED_ON_CPU", 0)


def test_one_call_gives_both_and_is_charged_as_two(random_model, calls):
    probe = probe_of(random_model)
    with probe.charge() as cost:
        difference = probe.difference(probe.noise, 981)
        again = probe.difference(probe.noise, 981)
    assert calls == [6]
    assert cost.forwards == 2
    assert torch.equal(difference, again)
    with torch.no_grad():
        null = random_model.embed_null().expand(3, -1, -1)
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


def test_a_shared_null_branch_stays_one_row(random_model, calls):
    probe = probe_of(random_model, noise="shared", n_items=30)
    with probe.charge() as cost:
        probe.difference(probe.noise, 981)
    assert sorted(calls) == [1, 3]
    assert cost.forwards == pytest.approx(1 + 1 / 30)


def test_large_batches_on_the_cpu_and_closed_forms_are_evaluated_apart(random_model):
    numbers = random_model.latent_shape[0] * random_model.latent_shape[1] * random_model.latent_shape[2]
    most = evaluations.JOINED_ON_CPU // (2 * numbers)
    assert joins_branches(random_model, most)
    assert not joins_branches(random_model, most + 1)
    assert not joins_branches(load_model("mixture-2d"), 1)


@pytest.mark.parametrize("noise", ["shared", "per-item"])
def test_scores_and_costs_are_those_of_two_calls(random_model, calls, noise, monkeypatch):
    found = []
    for joined in (True, False):
        if not joined:
            apart(monkeypatch)
        calls.clear()
        probe = probe_of(random_model, noise)
        with probe.charge() as cost:
            score = make_detector("wen2024@steps=4", detector_classes()).score(probe)
        found.append((score, (cost.forwards, cost.jvps, cost.vjps), sum(calls), len(calls)))
    (one, cost, rows, joined_calls), (two, same_cost, same_rows, two_calls) = found
    torch.testing.assert_close(one, two, rtol=1e-4, atol=0)
    assert (cost, rows) == (same_cost, same_rows)
    assert joined_calls < two_calls


def test_seconds_are_charged_once(random_model, monkeypatch):
    """By a clock that counts network calls: a second each."""
    clock = [0.0]
    real = random_model.predict

    def predict(x, t, embedding):
        clock[0] += 1.0
        return real(x, t, embedding)

    monkeypatch.setattr(random_model, "predict", predict)
    probe = probe_of(random_model)
    monkeypatch.setattr(probe, "_now", lambda: clock[0])
    with probe.charge() as first:
        start = clock[0]
        probe.difference(probe.noise, 981)
        inside = clock[0] - start
    with probe.charge() as second:
        probe.difference(probe.noise, 981)
    with probe.charge() as half:
        probe.eps(probe.noise, 981, "null")
    assert (inside + first.seconds, second.seconds, half.seconds) == (1.0, 1.0, 0.5)
