"""Mistakes of published code, one test each, and the first detectors on a trained network by naive means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.models import load_model
from memdet.probing import draws
from tests.helpers.naive import OfNetwork
from tests.helpers.problems import (
    MIXTURES,
    exact_hessian,
    exact_score,
    make_items,
    make_mixture,
    make_probe,
    scaled_linear_betas,
)

PROMPTS = ["plain blue shirt on a table", "an old leather boot"]
NAME = "fewer components than dimensions"


def ask(text, probe):
    return make_detector(text, detector_classes()).score(probe).double().tolist()


@pytest.fixture(scope="module")
def trained():
    model = load_model("tiny-sd-a", dtype=torch.float64)
    model.latent_shape = (4, 4, 4)  # its network takes any size, and the whole Jacobian is a sixteenth of its own
    probe = make_probe(model, make_items(PROMPTS, has_prompts=True), seed=3, steps=10)
    return probe, [OfNetwork(model, prompt, 3, steps=10) for prompt in PROMPTS]


class Twins:
    """One item and seed, plain loops, the whole Jacobian."""

    def __init__(self, naive):
        self.naive = naive

    def difference(self, x, t):
        return self.naive.score(x, t, "cond") - self.naive.score(x, t, "null")

    def wen2024(self, steps):
        n = self.naive
        norms = []
        for index in range(steps):
            x, t = n.guided(index, 7.5), n.timesteps[index]
            norms.append(float((n.eps(x, t, "cond") - n.eps(x, t, "null")).norm()))
        return sum(norms) / steps

    def jeon2025(self, t, transposed=False):
        x, t = self.naive.at(t)
        matrix = self.naive.gap(x, t)
        return float(((matrix.T if transposed else matrix) @ self.difference(x, t)).square().sum())

    def hessian_trace(self, t, probes):
        matrix = self.naive.jacobian(*self.naive.at(t), "cond")
        return -sum(float(v @ matrix @ v) for v in self.naive.signs(probes)) / probes

    def eigenvalues(self, t, steps):
        start = draws.gaussian(self.naive.shape, self.naive.seed, 0).double().flatten()
        return -float(self.naive.ritz(self.naive.jacobian(*self.naive.at(t), "cond"), start, steps)[0].min())

    def curvature_gap(self, t, probes):
        matrix = self.naive.gap(*self.naive.at(t))
        return float(np.mean([float((matrix @ v).square().sum()) for v in self.naive.signs(probes)]) ** 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "method", "arguments"),
    [
        ("wen2024", "wen2024", (1,)),
        ("wen2024@steps=4", "wen2024", (4,)),
        ("jeon2025", "jeon2025", (None,)),
        ("jeon2025@t=500", "jeon2025", (500,)),
        ("hessian-trace", "hessian_trace", (None, 4)),
        ("hessian-trace@t=300,probes=2", "hessian_trace", (300, 2)),
        ("jeon2024-eigenvalues", "eigenvalues", (None, 10)),
        ("jeon2024-eigenvalues@t=300,krylov=4", "eigenvalues", (300, 4)),
        ("curvature-gap@backend=jvp", "curvature_gap", (None, 1)),
        ("curvature-gap@t=300,probes=2,backend=jvp", "curvature_gap", (300, 2)),
    ],
)
def test_the_first_detectors_on_a_trained_network(trained, text, method, arguments):
    probe, naives = trained
    expected = [getattr(Twins(naive), method)(*arguments) for naive in naives]
    assert ask(text, probe) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_a_jacobian_vector_product_is_no_vector_jacobian_product(trained):
    """The Jacobian of a trained network is not symmetric: J s and J^T s are two detectors."""
    probe, naives = trained
    straight, transposed = ([Twins(n).jeon2025(None, transposed=flag) for n in naives] for flag in (False, True))
    assert ask("jeon2025", probe) == pytest.approx(straight, rel=1e-4)
    assert all(abs(a / b - 1) > 0.02 for a, b in zip(straight, transposed, strict=True))


@pytest.mark.parametrize("prediction_type", ["v", "x0", "flow"])
def test_a_v_prediction_is_no_prediction_of_the_clean_sample(prediction_type):
    """The score is -x - (alpha / sigma) v, with the -x that belongs in the derivative too."""
    model = make_mixture(NAME, prediction_type=prediction_type)
    probe = make_probe(model, make_items(["some"]))
    x, t = probe.noise, 501
    alpha, sigma = probe.model.schedule.alpha(t), probe.model.schedule.sigma(t)
    weights = MIXTURES[NAME]["conditions"]["some"]
    flat = x[0].double().flatten()
    score, hessian = (f(flat, NAME, weights, alpha, sigma) for f in (exact_score, exact_hessian))
    torch.testing.assert_close(probe.score(x, t, "cond").flatten(), score)
    (v,) = probe.directions(1)
    product = probe.jacobian_product(x, t, "cond", v).flatten()
    torch.testing.assert_close(product, hessian @ v[0].double().flatten())
    if prediction_type == "v":
        output = model.predict(x, t, model.embed(["some"])).flatten()
        torch.testing.assert_close(-flat - alpha / sigma * output, score)
        assert not torch.allclose((alpha * output - flat) / sigma**2, score, rtol=0.1)
        assert not torch.allclose(product + v[0].double().flatten(), hessian @ v[0].double().flatten(), rtol=0.1)


def test_the_schedule_is_that_of_the_model():
    """sigma^2 at t = 249 is .325 on the scaled-linear schedule of Stable Diffusion, not .429 as on a linear one."""
    schedule = load_model("tiny-sd-a").schedule
    assert schedule.sigma(249) ** 2 == pytest.approx(0.325, abs=5e-4)
    assert 1 - np.prod(1 - np.linspace(0.00085, 0.012, 1_000)[:250]) == pytest.approx(0.429, abs=5e-4)
    assert schedule.sigma(249) ** 2 == pytest.approx(1 - np.prod(1 - scaled_linear_betas()[:250]), rel=1e-5)


def test_every_seed_is_another_draw_and_an_item_may_have_its_own():
    """One draw that all prompts share is a property of that draw; seeds and noise per item are there to average it."""
    model, items = make_mixture(NAME), make_items(["some", "some"])
    by_seed = [ask("wen2024", make_probe(model, items, seed=seed)) for seed in (0, 1)]
    assert by_seed[0][0] == by_seed[0][1] != by_seed[1][0]
    own = ask("wen2024", make_probe(model, items, seed=0, noise="per-item"))
    assert own[0] != own[1]


def test_step_one_is_the_first_and_no_further_step_is_computed():
    probe = make_probe(make_mixture(NAME), make_items(["some"]), noise="per-item", check=False)
    with probe.charge() as cost:
        (found,) = ask("wen2024", probe)
    assert cost.forwards == 2
    x, t = probe.noise, probe.timesteps[0]
    assert t == 981
    assert found == pytest.approx(float(probe.difference(x, t).norm()))
    with probe.charge() as cost:
        ask("wen2024@steps=3", probe)
    assert cost.forwards == 6
