"""What every detector costs an item, derived from its definition."""

import pytest
from problems import CountingMixture, make_items, make_mixture

from memdet.detectors import detector_classes, make_detector
from memdet.probing import Probe

N = 8
# Forwards of an item's own, forwards that all items share where they share the noise; JVPs likewise.
COSTS = {
    "wen2024": (1, 1, 0, 0),
    "wen2024@steps=5": (9, 1, 0, 0),
    "wen2024@steps=50": (99, 1, 0, 0),
    "jeon2025": (1, 1, 2, 0),
    "jeon2025@power=1": (1, 1, 2, 0),
    "jeon2025@backend=fd": (1 + 4, 1, 0, 0),
    "jeon2025@backend=fd-one-sided": (1 + 2, 1, 0, 0),  # the predictions at the noise are known from the direction
    "curvature-gap": (2, 2, 0, 0),
    "curvature-gap@probes=3": (4, 4, 0, 0),
    "curvature-gap@backend=fd": (2, 2, 0, 0),
    "curvature-gap@backend=jvp": (0, 0, 1, 1),
    "hessian-trace": (0, 0, 4, 0),
    "hessian-trace@probes=1": (0, 0, 1, 0),
    "hessian-trace@probes=5,estimator=hutch++": (0, 0, 7, 0),
    "hessian-trace@probes=5,estimator=xtrace": (0, 0, 10, 0),
    "jeon2024-eigenvalues": (0, 0, 6, 0),  # no more products than dimensions
    "jeon2024-eigenvalues@krylov=3": (0, 0, 3, 0),
    # Ten unguided steps lead to t = 781; there nothing is shared.
    "hessian-trace@t=781": (10, 0, 4, 0),
    "jeon2025@t=781": (10 + 2, 0, 2, 0),
    "curvature-gap@t=781": (10 + 4, 0, 0, 0),
    "jeon2024-eigenvalues@krylov=3,t=781": (10, 0, 3, 0),
    "random": (0, 0, 0, 0),
}


def expected(label, noise):
    own, shared, jvps, shared_jvps = COSTS[label]
    share = 1 / N if noise == "shared" else 1
    return own + shared * share, jvps + shared_jvps * share


def fresh_probe(noise, **options):
    model = make_mixture("fewer components than dimensions", CountingMixture)
    return model, Probe(model, make_items(["some", "point"] * (N // 2)), noise=noise, check=False, **options)


def charge(probe, label):
    with probe.charge() as cost:
        make_detector(label, detector_classes()).score(probe)
    assert cost.vjps == 0
    return cost.forwards, cost.jvps


@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("label", COSTS)
def test_cost_alone(label, noise):
    model, probe = fresh_probe(noise)
    forwards, jvps = charge(probe, label)
    assert (forwards, jvps) == pytest.approx(expected(label, noise), rel=1e-12)
    assert model.rows == pytest.approx(N * (forwards + jvps))  # what is charged is what was evaluated


@pytest.mark.parametrize("memo", [True, False])
@pytest.mark.parametrize("noise", ["shared", "per-item"])
def test_cost_together(noise, memo):
    _, probe = fresh_probe(noise, memo=memo)
    for label in [*COSTS, *reversed(COSTS)]:
        assert charge(probe, label) == pytest.approx(expected(label, noise), rel=1e-12), label


def test_cost_does_not_depend_on_the_batch():
    """Batches of a sample set of N items are charged the shares of N, however large they are."""
    model = make_mixture("fewer components than dimensions", CountingMixture)
    seed_memo = {}
    for size in (1, 3, 4):
        probe = Probe(model, make_items(["some"] * size), n_items=N, seed_memo=seed_memo, check=False)
        for label in COSTS:
            assert charge(probe, label) == pytest.approx(expected(label, "shared"), rel=1e-12), (label, size)


def test_every_detector_that_asks_the_model_is_here():
    """Those that read the network's inside, generations or training data are in files of their own."""
    asking = {name for name, cls in detector_classes().items() if cls.info.access in {"score", "gradient"}}
    assert asking <= set(COSTS)
