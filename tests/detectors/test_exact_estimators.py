"""Exact variants of the curvature detectors: against their estimates, dense autograd and what closed forms know."""

from functools import partial

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError
from memdet.models import GaussianMixture
from memdet.probing import jacobians
from tests.helpers.problems import MIXTURES, make_items, make_mixture, make_probe

EXACT = [
    "hessian-trace@estimator=exact",
    "jeon2024-eigenvalues@estimator=exact",
    "jeon2024-eigenvalues@statistic=count-below,estimator=exact",
    "jeon2024-eigenvalues@statistic=positive,estimator=exact",
    "curvature-gap@estimator=exact",
]


def ask(text, model, conditions, **options):
    probe = make_probe(model, make_items(list(conditions)), **options)
    with probe.charge() as cost:
        scores = make_detector(text, detector_classes()).score(probe).double()
    return scores.tolist(), cost


class AsNetwork:
    """A mixture that hides what it knows, so that its Jacobian is taken product by product."""

    def __init__(self, model):
        self.__dict__.update(model.__dict__)
        self._model = model

    takes_prompts = False

    def __getattr__(self, name):
        return getattr(self.__dict__["_model"], name)


@pytest.mark.parametrize("t", [None, 500])
@pytest.mark.parametrize("noise", ["shared", "per-item"])
@pytest.mark.parametrize("name", MIXTURES)
@pytest.mark.parametrize("text", EXACT)
def test_what_the_closed_form_knows_is_what_its_products_give(text, name, noise, t):
    model, conditions = make_mixture(name), MIXTURES[name]["conditions"]
    text += f",t={t}" if t else ""
    known, _ = ask(text, model, conditions, noise=noise)
    taken, _ = ask(text, AsNetwork(model), conditions, noise=noise)
    assert known == pytest.approx(taken, rel=1e-8, abs=1e-8)


@pytest.mark.parametrize("text", EXACT[:1] + EXACT[4:])
def test_cost_is_that_of_the_whole_jacobian(text):
    name = "fewer components than dimensions"
    d, conditions = make_mixture(name)._means.shape[1], ["some"] * 4
    _, known = ask(text, make_mixture(name), conditions)
    _, taken = ask(text, AsNetwork(make_mixture(name)), conditions)
    branches = 2 if "gap" in text else 1
    assert (known.jvps, known.vjps) == (branches * d, 0)
    shares = 1 + (branches - 1) / 4  # the null branch is one row for all items
    assert (taken.forwards, taken.jvps, taken.vjps) == (shares, 0, shares * d)


def test_closed_form_products_are_refused_by_a_network(random_model):
    with pytest.raises(NotApplicableError, match="is no closed form"):
        ask("jeon2025@backend=closed-form", random_model, ["a prompt"])


def test_closed_form_products_are_the_derivative_of_the_score():
    name = "fewer components than dimensions"
    conditions = MIXTURES[name]["conditions"]
    exact, cost = ask("jeon2025@backend=closed-form", make_mixture(name), conditions)
    assert exact == pytest.approx(ask("jeon2025", make_mixture(name), conditions)[0], rel=1e-9)
    assert cost.jvps == 2


def test_a_network_too_large_for_its_matrix_says_so(monkeypatch, random_model):
    monkeypatch.setattr(jacobians, "LARGEST_MATRIX", 255)
    with pytest.raises(NotApplicableError, match="up to d = 255, not 256"):
        ask("hessian-trace@estimator=exact", random_model, ["a prompt"])


@pytest.mark.slow
def test_exact_trace_of_a_network_is_the_mean_of_its_forms(random_model):
    """Hutchinson's estimates scatter around the exact trace by their own standard error."""
    from memdet.curvature import hutchinson, xtrace

    probe = make_probe(random_model, make_items(["one prompt", "another prompt"], has_prompts=True))
    x, t = probe.at(None)
    products, directions = partial(probe.jacobian_product, x, t, "cond", backend="vjp"), probe.directions(60)
    estimate = hutchinson(products, directions)
    exact = probe.spectrum(x, t, "cond").sum(dim=1)
    assert ((estimate.value - exact).abs() < 4 * estimate.standard_error).all()
    low_rank = xtrace(products, directions, shift=random_model.schedule.sigma(t) ** -2)
    assert ((low_rank.value - exact).abs() < 4 * low_rank.standard_error).all()
    score = make_detector("hessian-trace@probes=60,estimator=xtrace", detector_classes()).score(probe)
    assert torch.allclose(score, -low_rank.value)


def test_isotropic_gaussian_has_known_differences():
    model = GaussianMixture(
        "isotropic",
        torch.zeros(1, 6),
        stds=[0.5],
        weights=[1.0],
        conditions={"same": [1.0]},
        schedule=make_mixture(next(iter(MIXTURES))).schedule,
    )
    assert ask("curvature-gap@estimator=exact", model, ["same"])[0] == pytest.approx([0], abs=1e-9)
