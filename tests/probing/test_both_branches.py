"""Both branches in one network call: the same predictions, books and sharing as two calls."""

from __future__ import annotations

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.models import load_model
from memdet.models.accelerated import accelerate
from memdet.probing import Probe, evaluations, joining
from memdet.probing.joining import joins_branches, joins_null_row, joins_products
from tests.helpers.problems import make_items


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
    monkeypatch.setattr(joining, "JOINED_ON_CPU", 0)


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


def test_a_shared_null_branch_is_one_row_of_the_first_call_of_a_seed(random_model, calls):
    memo = {}
    for expected in (4, 3):
        probe = probe_of(random_model, noise="shared", n_items=30, seed_memo=memo)
        calls.clear()
        with probe.charge() as cost:
            difference = probe.difference(probe.noise, 981)
        assert calls == [expected]
        assert cost.forwards == pytest.approx(1 + 1 / 30)
        with torch.no_grad():
            null = random_model.eps(probe.noise[:1], 981, random_model.embed_null())
        torch.testing.assert_close(difference, probe.eps(probe.noise, 981, "cond") - null, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("label", "shared", "own"),
    [
        ("curvature-gap@backend=fd", [4, 4, 3, 3], [6, 6, 6, 6]),
        ("curvature-gap", [4, 4, 3, 3], [6, 6, 6, 6]),
        ("jeon2025@backend=fd-one-sided", [4, 6, 3, 6], [6, 6, 6, 6]),
        ("curvature-gap@backend=jvp", [4, 3], [6, 6]),
        ("jeon2025", [4, 6, 3, 6], [6, 6, 6, 6]),
    ],
)
def test_products_of_both_branches_are_one_call(label, shared, own, random_model, calls, monkeypatch):
    detector = make_detector(label, detector_classes())

    def scored(noise):
        """Two batches of a seed."""
        calls.clear()
        memo, found = {}, []
        for _ in range(2):
            probe = probe_of(random_model, noise, n_items=6, seed_memo=memo, check=False)
            with probe.charge() as cost:
                found.append(detector.score(probe))
        return torch.cat(found), cost.forwards, list(calls)

    for noise, expected in (("shared", shared), ("per-item", own)):
        together, forwards, rows = scored(noise)
        assert rows == expected
        with monkeypatch.context() as patch:
            patch.setattr(evaluations, "joins_branches", lambda *_: False)
            patch.setattr(evaluations, "joins_null_row", lambda *_: False)
            apart, same_forwards, rows = scored(noise)
        assert max(rows) == 3
        assert forwards == pytest.approx(same_forwards)
        torch.testing.assert_close(together, apart, rtol=5e-3, atol=0)  # differences divide rounding by a small step


@pytest.mark.parametrize("last", [1, 2])
@pytest.mark.parametrize("backend", ["fd", "fd-one-sided", "jvp"])
def test_a_batch_is_scored_alike_whether_or_not_the_first_came_before(last, backend, random_model, calls):
    """As after an interruption."""
    first, second = (
        make_items([f"a red circle {i}" for i in part], has_prompts=True) for part in (range(5), range(last))
    )
    detectors = [
        make_detector(label, detector_classes()) for label in ("wen2024@steps=2", f"curvature-gap@backend={backend}")
    ]

    def scored(memo):
        probe = Probe(random_model, second, n_items=5 + last, seed_memo=memo, first_batch=5, check=False)
        found = []
        for detector in detectors:
            with probe.charge() as cost:
                found.append((detector.score(probe), cost.forwards))
        return found

    memo = {}
    before = Probe(random_model, first, n_items=5 + last, seed_memo=memo, check=False)
    for detector in detectors:
        detector.score(before)
    calls.clear()
    after = scored(memo)
    assert 6 not in calls
    calls.clear()
    alone = scored({})
    # The null branch: at the noise, for wen2024, and then as the backend needs it.
    assert calls.count(6) == {"fd": 3, "fd-one-sided": 2, "jvp": 2}[backend]
    for (score, forwards), (again, same) in zip(after, alone, strict=True):
        assert torch.equal(score, again)
        assert forwards == same


def test_where_processes_share_the_batches_the_null_branch_stays_one_row(random_model, calls):
    for first_batch in (None, 5):
        calls.clear()
        probe = probe_of(random_model, "shared", n_items=30, first_batch=first_batch, null_alone=True)
        probe.difference(probe.noise, 981)
        assert sorted(calls) == [1, 3]


def test_without_sharing_every_batch_has_its_own_null_row(random_model, calls):
    probe = probe_of(random_model, "shared", n_items=30, memo=False, first_batch=5)
    for _ in range(2):
        calls.clear()
        with probe.charge():
            probe.difference(probe.noise, 981)
        assert calls == [4]


def test_the_null_branch_stays_apart_where_one_more_row_does_not_pay(random_model):
    """Batches of one are chosen for their memory, and a network would be accelerated for that one call's rows."""
    assert joins_null_row(random_model, 2)
    assert not joins_null_row(random_model, 1)
    assert not joins_null_row(load_model("mixture-2d"), 2)
    assert not joins_null_row(accelerate(random_model, "compile"), 2)


def test_large_batches_on_the_cpu_and_closed_forms_are_evaluated_apart(random_model):
    numbers = random_model.latent_shape[0] * random_model.latent_shape[1] * random_model.latent_shape[2]
    most = joining.JOINED_ON_CPU // (2 * numbers)
    assert joins_branches(random_model, most)
    assert joins_products(random_model, most)
    assert not joins_branches(random_model, most + 1)
    assert not joins_branches(load_model("mixture-2d"), 1)


def test_at_the_size_of_stable_diffusion_nothing_is_joined_on_the_cpu(random_model, monkeypatch):
    """A row more would be memory more and no time less; on other devices it depends on nothing but the call."""
    monkeypatch.setattr(random_model, "latent_shape", (4, 64, 64))
    assert not joins_branches(random_model, 1)
    assert not joins_products(random_model, 1)
    assert not joins_null_row(random_model, 2)
    monkeypatch.setattr(random_model, "device", torch.device("cuda"))
    assert joins_branches(random_model, 1)
    assert not joins_products(random_model, 1)  # a tangent carries the memory of several forwards
    assert joins_null_row(random_model, 2)


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


@pytest.fixture
def clock(random_model, monkeypatch):
    """Counts rows of network calls: a second each."""
    seconds = [0.0]
    real = random_model.predict

    def predict(x, t, embedding):
        seconds[0] += len(x)
        return real(x, t, embedding)

    monkeypatch.setattr(random_model, "predict", predict)
    monkeypatch.setattr(Probe, "_now", lambda _: seconds[0])
    return seconds


def charged(clock, probe, ask):
    """Seconds that a detector is charged, with those that pass while it asks."""
    start = clock[0]
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


@pytest.mark.parametrize("first_batch", [None, 5])
def test_seconds_of_a_shared_row_are_divided_among_the_items(first_batch, random_model, clock):
    """Nobody is charged for the rows that fill a call up."""
    probe = probe_of(random_model, "shared", n_items=30, first_batch=first_batch)
    for _ in range(2):
        assert charged(clock, probe, difference) == pytest.approx(3 + 3 / 30)
