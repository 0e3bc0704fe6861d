"""The probe: what is evaluated, how often, and what is charged."""

import gc
import weakref

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.probing import Cost, SeedMemory
from tests.helpers.problems import (
    MIXTURES,
    CountingMixture,
    exact_hessian,
    exact_score,
    make_items,
    make_mixture,
    make_probe,
    select,
)

NAME = "fewer components than dimensions"
CONDITIONS = ["some", "point"] * 5


@pytest.fixture
def model():
    return make_mixture(NAME, CountingMixture)


def charged(probe, detector):
    with probe.charge() as cost:
        scores = make_detector(detector, detector_classes()).score(probe)
    return scores, cost


def counts(cost):
    return cost.forwards, cost.jvps, cost.vjps


def test_answers_are_the_model_s(model):
    probe = make_probe(model, make_items(["some", "point"]), seed=3)
    alpha, sigma = model.schedule.alpha(499), model.schedule.sigma(499)
    v = probe.directions(1)[0]
    branches = {"cond": list(MIXTURES[NAME]["conditions"].values()), "null": [MIXTURES[NAME]["weights"]] * 2}
    for branch, weights in branches.items():
        score = probe.score(probe.noise, 499, branch)
        products = {kind: probe.jacobian_product(probe.noise, 499, branch, v, kind) for kind in ("jvp", "vjp", "fd")}
        for row, weight in enumerate(weights):
            x = probe.noise[row].flatten()
            torch.testing.assert_close(score[row].flatten(), exact_score(x, NAME, weight, alpha, sigma))
            expected = exact_hessian(x, NAME, weight, alpha, sigma) @ v[row].flatten()
            for kind, product in products.items():
                tolerance = 1e-3 if kind == "fd" else 1e-8
                torch.testing.assert_close(product[row].flatten(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        probe.difference(probe.noise, 499),
        -sigma * (probe.score(probe.noise, 499, "cond") - probe.score(probe.noise, 499, "null")),
    )


@pytest.mark.parametrize("noise", ["shared", "per-item"])
def test_together_evaluates_fewer_than_apart_at_equal_cost(noise):
    names = ["wen2024@steps=5", "jeon2025"]
    apart, costs_apart, scores_apart = 0, [], []
    for name in names:
        model = make_mixture(NAME, CountingMixture)
        scores, cost = charged(make_probe(model, make_items(CONDITIONS), noise=noise), name)
        apart += model.rows
        costs_apart.append(counts(cost))
        scores_apart.append(scores)
    model = make_mixture(NAME, CountingMixture)
    probe = make_probe(model, make_items(CONDITIONS), noise=noise)
    together = [charged(probe, name) for name in names]
    shared = 10 + (1 if noise == "shared" else 10)  # both need the predictions at the starting noise
    assert model.rows == apart - shared
    assert [counts(cost) for _, cost in together] == costs_apart
    for (scores, _), alone in zip(together, scores_apart, strict=True):
        assert torch.equal(scores, alone)


def test_a_second_asker_pays_without_evaluating(model):
    probe = make_probe(model, make_items(CONDITIONS))
    _, first = charged(probe, "wen2024@steps=3")
    rows = model.rows
    scores, second = charged(probe, "wen2024@steps=3")
    assert model.rows == rows
    assert counts(second) == counts(first)
    assert torch.isfinite(scores).all()


def test_one_detector_pays_once_for_what_it_asks_twice(model):
    probe = make_probe(model, make_items(CONDITIONS), noise="per-item")
    with probe.charge() as cost:
        for _ in range(2):
            probe.eps(probe.noise, 981, "cond")
            probe.score(probe.noise, 981, "cond")
    assert counts(cost) == (1, 0, 0)
    assert model.rows == len(CONDITIONS)


def test_another_point_timestep_or_branch_is_another_evaluation(model):
    probe = make_probe(model, make_items(CONDITIONS), noise="per-item")
    with probe.charge() as cost:
        probe.eps(probe.noise, 981, "cond")
        probe.eps(probe.noise, 961, "cond")
        probe.eps(probe.noise, 981, "null")
        probe.eps(probe.noise + 1, 981, "cond")
    assert counts(cost) == (4, 0, 0)
    assert model.rows == 4 * len(CONDITIONS)


def test_changing_a_tensor_in_place_is_noticed(model):
    probe = make_probe(model, make_items(CONDITIONS))
    x = probe.noise + 0.5
    before = probe.eps(x, 981, "cond").clone()
    x.mul_(2)
    assert not torch.allclose(probe.eps(x, 981, "cond"), before)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 64])
def test_shared_null_branch_is_evaluated_once_a_seed(size):
    model = make_mixture(NAME, CountingMixture)
    n = 70
    items = make_items(["some", "point"] * (n // 2))
    memory, total = SeedMemory(), 0.0
    for start in range(0, n, size):
        batch = select(items, range(start, min(n, start + size)))
        probe = make_probe(model, batch, memory=memory, n_items=n, check=False)
        for name in ("wen2024", "curvature-gap"):
            _, cost = charged(probe, name)
            total += cost.forwards * len(batch)
    assert model.null_rows(981) == 2  # the prediction at the starting noise, and at the point moved along the probe
    assert model.rows == 2 * n + 2
    # Alone: wen2024 1 + 1/n, curvature-gap 2 + 2/n forwards an item.
    assert total / n == pytest.approx(3 + 3 / n)


def test_null_branch_of_item_noise_is_evaluated_for_each_item(model):
    probe = make_probe(model, make_items(CONDITIONS), noise="per-item")
    charged(probe, "wen2024")
    assert model.null_rows(981) == len(CONDITIONS)


def test_shared_seeds_do_not_mix(model):
    """A fresh memo a seed: nothing of one seed is found under another."""
    first = charged(make_probe(model, make_items(CONDITIONS), seed=0), "wen2024")[0]
    second = charged(make_probe(model, make_items(CONDITIONS), seed=1), "wen2024")[0]
    assert (first != second).all()


def test_without_memo_every_detector_starts_afresh(model):
    probe = make_probe(model, make_items(CONDITIONS), memo=False)
    first, _ = charged(probe, "wen2024")
    rows = model.rows
    second, _ = charged(probe, "wen2024")
    assert model.rows == 2 * rows
    assert torch.equal(first, second)


def test_wrong_batch_is_refused(model):
    probe = make_probe(model, make_items(CONDITIONS))
    with pytest.raises(ValueError, match="expected a batch of 10, got 3"):
        probe.eps(probe.noise[:3], 981, "cond")


def test_nearest_timestep(model):
    probe = make_probe(model, make_items(CONDITIONS), steps=10)
    assert probe.timesteps == [901, 801, 701, 601, 501, 401, 301, 201, 101, 1]
    x, t = probe.at(None)
    assert x is probe.noise
    assert t == 901
    for wanted, index in ((455, 4), (440, 5), (0, 9), (999, 0)):
        x, t = probe.at(wanted)
        assert t == probe.timesteps[index]
        assert x is probe.trajectory(guidance=1).state(index)


def test_labels_are_for_supervised_controls(model):
    probe = make_probe(model, make_items(CONDITIONS))
    with pytest.raises(PermissionError, match="supervised=True"):
        _ = probe.labels
    with probe.charge(), pytest.raises(PermissionError):
        _ = probe.labels
    with probe.charge(supervised=True):
        assert probe.labels == [0, 1] * 5
    with pytest.raises(PermissionError):
        _ = probe.labels


def test_prompts_only_where_conditions_are_text(model):
    with pytest.raises(NotApplicableError, match="not text"):
        _ = make_probe(model, make_items(CONDITIONS)).prompts
    assert make_probe(model, make_items(CONDITIONS, has_prompts=True)).prompts == CONDITIONS


def test_no_model():
    with pytest.raises(NotApplicableError, match="no model"):
        _ = make_probe(None, make_items(CONDITIONS)).noise


def test_costs_add_up():
    cost = Cost(forwards=1, seconds=2.0)
    cost.count(forwards=2, jvps=3)
    cost.add(Cost(4, 4, 4, 4.0), share=0.5)
    assert cost == Cost(forwards=5, jvps=5, vjps=2, seconds=4.0)


def test_operators_test_themselves_once_a_seed_at_nobodys_cost():
    model = make_mixture("fewer components than dimensions", CountingMixture)
    items, memory = make_items(["some", "point"] * 3), SeedMemory()
    rows = []
    for _ in range(2):
        probe = make_probe(model, items, memory=memory)
        before = model.rows
        _, cost = charged(probe, "hessian-trace@probes=2,backend=jvp")
        rows.append(model.rows - before)
        assert (cost.forwards, cost.jvps, cost.vjps) == (0, 2, 0)
    # On one item: the function twice, a forward and a reverse product.
    assert rows == [12 + 4, 12]


def test_a_model_with_dropout_left_on_is_found_out():
    class Training(CountingMixture):
        def predict(self, x, t, embedding):
            return torch.nn.functional.dropout(super().predict(x, t, embedding))

    probe = make_probe(make_mixture("fewer components than dimensions", Training), make_items(["some"] * 3))
    torch.manual_seed(0)  # of six entries, two draws in a row drop the same ones now and then
    for detector in ("jeon2025", "hessian-trace"):
        with pytest.raises(ValueError, match="is dropout left on"):
            charged(probe, detector)


def test_a_probe_that_forgets_frees_its_tensors():
    """What it remembers refers back to it; without this, memory would grow until the garbage collector runs."""
    model = make_mixture("fewer components than dimensions")
    probe = make_probe(model, make_items(CONDITIONS))
    charged(probe, "hessian-trace@t=781")
    state = weakref.ref(probe.trajectory(guidance=1.0).state(10))
    gc.disable()
    try:
        assert state() is not None
        probe.forget()
        assert state() is None
    finally:
        gc.enable()


def test_nobody_pays_for_the_text_encoder():
    """Seconds are those of evaluations, told by a clock that only the model moves: 100 an encoding, 1 a forward."""
    now = [0.0]

    class Slow(CountingMixture):
        def embed(self, conditions):
            now[0] += 100
            return super().embed(conditions)

        def predict(self, x, t, embedding):
            now[0] += 1
            return super().predict(x, t, embedding)

    probe = make_probe(make_mixture("fewer components than dimensions", Slow), make_items(["some"] * 4))
    probe.evaluator.clock = lambda: now[0]
    for _ in range(2):
        with probe.charge() as cost:
            start = now[0]
            probe.difference(probe.noise, 981)
        assert cost.seconds + now[0] - start == pytest.approx(1 + 1)
