"""What every detector costs an item, derived from its definition."""

import pytest

from memdet.detectors import detector_classes, make_detector
from memdet.probing import SeedMemory
from tests.helpers.problems import CountingMixture, make_items, make_mixture, make_probe

N = 8
# Forwards of an item's own, forwards that all items share where they share the noise; JVPs likewise, and VJPs if any.
COSTS = {
    "wen2024": (1, 1, 0, 0),
    "wen2024@steps=5": (9, 1, 0, 0),
    "wen2024@steps=50": (99, 1, 0, 0),
    "wen2024@t=781": (10 + 2, 0, 0, 0),
    "jeon2025": (1, 1, 2, 0),
    "jeon2025@power=1": (1, 1, 2, 0),
    "jeon2025@backend=fd": (1 + 4, 1, 0, 0),
    "jeon2025@backend=fd-one-sided": (1 + 2, 1, 0, 0),  # the predictions at the noise are known from the direction
    "curvature-gap": (2, 2, 0, 0),
    "curvature-gap@probes=3": (4, 4, 0, 0),
    "curvature-gap@backend=fd": (2, 2, 0, 0),
    "curvature-gap@backend=jvp": (0, 0, 1, 1),
    "hessian-trace": (1, 0, 0, 0, 4, 0),
    "hessian-trace@backend=jvp": (0, 0, 4, 0),
    "hessian-trace@probes=1": (1, 0, 0, 0, 1, 0),
    "hessian-trace@probes=5,estimator=hutch++": (1, 0, 0, 0, 7, 0),
    "hessian-trace@probes=5,estimator=xtrace": (1, 0, 0, 0, 10, 0),
    "jeon2024-eigenvalues": (1, 0, 0, 0, 6, 0),  # no more products than dimensions
    "jeon2024-eigenvalues@krylov=3": (1, 0, 0, 0, 3, 0),
    # Ten unguided steps lead to t = 781; there nothing is shared.
    "hessian-trace@t=781": (10 + 1, 0, 0, 0, 4, 0),
    "jeon2025@t=781": (10 + 2, 0, 2, 0),
    "curvature-gap@t=781": (10 + 4, 0, 0, 0),
    "jeon2024-eigenvalues@krylov=3,t=781": (10 + 1, 0, 0, 0, 3, 0),
    "few-step-curvature": (4 + 1 + 3, 0, 0, 0),  # the first step is the item's own: its condition alone is followed
    "few-step-curvature@steps=2,t=781,probes=1,backend=vjp": (2 + 1, 0, 0, 0, 1, 0),
    "hessian-cubic": (1, 0, 1, 0),
    "hessian-cubic@backend=fd-one-sided": (1 + 1, 0, 0, 0),
    "hessian-cubic@t=781": (10 + 1, 0, 1, 0),
    "trace-gap": (1, 1, 0, 0, 4, 4),
    "trace-gap@backend=fd-one-sided": (1 + 4, 1 + 4, 0, 0),
    "trace-gap@t=781": (10 + 2, 0, 0, 0, 4 + 4, 0),
    "eigenvalue-gap": (1, 1, 0, 0, 6 + 6, 0),  # Krylov vectors are an item's own on both branches
    "eigenvalue-gap@krylov=3,t=781": (10 + 2, 0, 0, 0, 3 + 3, 0),
    "metric2": (1, 1, 0, 0, 1, 1),
    "metric2@t=781": (10 + 2, 0, 0, 0, 2, 0),
    "lhsd@c=0.5": (50 + 49 + 1, 1, 0, 0, 8 * 5, 0),  # at the end of 50 guided steps, on the null branch
    "lhsd@t=981,probes=3,krylov=2,c=0.5": (50 + 49 + 1, 1, 0, 0, 6, 0),
    "curvature-map": (50 + 49, 1, 0, 0, 16 + 16, 0),  # the last of 50 guided steps is looked at and not made
    "curvature-map@probes=1,t=781": (10 + 9 + 2, 1, 0, 0, 2, 0),
    "flipd": (50 + 49 + 1, 1, 0, 0, 4, 0),
    "flipd@probes=1,backend=fd": (50 + 49 + 1 + 2, 1, 0, 0),
    "random": (0, 0, 0, 0),
}
# Forwards an item that are made again, with a graph for reverse products.
MADE_AGAIN = {
    "eigenvalue-gap": {"shared": 1},  # null branch: one prediction for all items, a graph for each
    "metric2": {"shared": 1 + 1 / N, "per-item": 2},  # the direction is the prediction
    "metric2@t=781": {"shared": 2, "per-item": 2},
}


def expected(label, noise):
    counts = (*COSTS[label], 0, 0)[:6]
    return tuple(with_share(pair, noise) for pair in zip(counts[::2], counts[1::2], strict=True))


def with_share(pair, noise):
    own, shared = pair
    return own + shared * (1 / N if noise == "shared" else 1)


def fresh_probe(noise, **options):
    model = make_mixture("fewer components than dimensions", CountingMixture)
    return model, make_probe(model, make_items(["some", "point"] * (N // 2)), noise=noise, check=False, **options)


def charge(probe, label):
    with probe.charge() as cost:
        make_detector(label, detector_classes()).score(probe)
    return cost.forwards, cost.jvps, cost.vjps


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("label", COSTS)
def test_cost_alone(label, noise):
    model, probe = fresh_probe(noise)
    cost = charge(probe, label)
    assert cost == pytest.approx(expected(label, noise), rel=1e-12)
    # What is charged is what was evaluated; a JVP holds one evaluation, and VJPs are taken on the graph of a forward.
    forwards, jvps, _ = cost
    assert model.rows == pytest.approx(N * (forwards + jvps + MADE_AGAIN.get(label, {}).get(noise, 0)))


@pytest.mark.slow
@pytest.mark.parametrize("memo", [True, False])
@pytest.mark.parametrize("noise", ["shared", "per-item"])
def test_cost_together(noise, memo):
    _, probe = fresh_probe(noise, memo=memo)
    for label in [*COSTS, *reversed(COSTS)]:
        assert charge(probe, label) == pytest.approx(expected(label, noise), rel=1e-12), label


@pytest.mark.slow
def test_cost_does_not_depend_on_the_batch():
    """Batches of a sample set of N items are charged the shares of N, however large they are."""
    model = make_mixture("fewer components than dimensions", CountingMixture)
    memory = SeedMemory()
    for size in (1, 3, 4):
        probe = make_probe(model, make_items(["some"] * size), n_items=N, memory=memory, check=False)
        for label in COSTS:
            assert charge(probe, label) == pytest.approx(expected(label, "shared"), rel=1e-12), (label, size)
