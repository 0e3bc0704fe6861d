"""The closed-form mixture against autograd of an independently written log density, and against integrals."""

import itertools

import numpy as np
import pytest
import torch
from numpy.polynomial.hermite_e import hermegauss

from memdet.errors import UserError
from memdet.models import PREDICTION_TYPES, Condition, GaussianMixture, NoiseSchedule
from tests.helpers.problems import MIXTURES, exact_hessian, exact_score, make_mixture

CASES = list(itertools.product(MIXTURES, PREDICTION_TYPES, [29, 249, 499, 899]))


def problem(name, prediction_type, t):
    """Model, points in the bulk of the noisy density, and embeddings of both conditions and the null branch."""
    options = {"schedule": NoiseSchedule.rectified_flow()} if prediction_type == "flow" else {}
    model = make_mixture(name, prediction_type=prediction_type, **options)
    weights = [*MIXTURES[name]["conditions"].values(), MIXTURES[name]["weights"]]
    embedding = Condition.cat([model.embed(list(MIXTURES[name]["conditions"])), model.embed_null()])
    generator = torch.Generator().manual_seed(t)
    alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
    centre = alpha * torch.tensor(MIXTURES[name]["means"], dtype=torch.float64)[:3]
    noise = torch.randn(centre.shape, generator=generator, dtype=torch.float64)
    x = (0.7 * centre + 0.3 * centre.roll(1, 0) + 0.7 * sigma * noise).view(3, *model.latent_shape)
    return model, x, embedding, weights, alpha, sigma


@pytest.mark.parametrize(("name", "prediction_type", "t"), CASES)
def test_score_is_the_gradient_of_the_log_density(name, prediction_type, t):
    model, x, embedding, weights, alpha, sigma = problem(name, prediction_type, t)
    score = model.score(x, t, embedding)
    for row, weight in enumerate(weights):
        expected = exact_score(x[row].flatten(), name, weight, alpha, sigma)
        torch.testing.assert_close(score[row].flatten(), expected, rtol=1e-8, atol=1e-8 / sigma)


@pytest.mark.parametrize(("name", "prediction_type", "t"), CASES)
def test_derivative_of_the_converted_score_is_the_hessian(name, prediction_type, t):
    """The ``-x`` term of a converted score must be in the derivative."""
    model, x, embedding, weights, alpha, sigma = problem(name, prediction_type, t)
    for row, weight in enumerate(weights):
        jacobian = torch.autograd.functional.jacobian(
            lambda flat, row=row: model.score(
                flat.view(1, *model.latent_shape), t, embedding.rows(slice(row, row + 1))
            ).flatten(),
            x[row].flatten(),
        )
        expected = exact_hessian(x[row].flatten(), name, weight, alpha, sigma)
        torch.testing.assert_close(jacobian, expected, rtol=1e-7, atol=1e-8 / sigma**2)


@pytest.mark.parametrize(("name", "prediction_type", "t"), CASES)
def test_hessian_product_and_spectrum(name, prediction_type, t):
    model, x, embedding, weights, alpha, sigma = problem(name, prediction_type, t)
    v = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    product = model.exact_hessian_product(x, t, embedding, v)
    spectrum = model.exact_spectrum(x, t, embedding)
    for row, weight in enumerate(weights):
        hessian = exact_hessian(x[row].flatten(), name, weight, alpha, sigma)
        close = {"rtol": 1e-7, "atol": 1e-9 / sigma**2}
        torch.testing.assert_close(product[row].flatten(), hessian @ v[row].flatten(), **close)
        torch.testing.assert_close(spectrum[row], torch.linalg.eigvalsh(hessian), **close)


@pytest.mark.parametrize("name", MIXTURES)
def test_hessian_is_bounded_below(name):
    """A posterior covariance is positive, so no eigenvalue lies below ``-1 / sigma^2``."""
    model, x, embedding, *_, sigma = problem(name, "eps", 249)
    assert (model.exact_spectrum(x, 249, embedding) >= -1 / sigma**2 * (1 + 1e-12)).all()


def expectation(model, t, embedding, function, nodes):
    """Integral of ``function(x)`` under the noisy mixture: a Gauss-Hermite rule for each component."""
    points, weights = hermegauss(nodes)
    d = model.latent_shape[0]
    grid = torch.tensor(list(itertools.product(points, repeat=d)))
    mass = torch.tensor([np.prod(choice) for choice in itertools.product(weights, repeat=d)]) / (2 * np.pi) ** (d / 2)
    alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
    total = 0.0
    for mean, variance, share in zip(model._means, model._variances, embedding.tensor[0], strict=True):
        x = alpha * mean + (alpha**2 * variance + sigma**2).sqrt() * grid
        total += float(share / embedding.tensor.sum() * (mass * function(x)).sum())
    return total


def test_squared_score_is_minus_the_trace_in_expectation():
    model = GaussianMixture(
        "plane",
        torch.tensor([[0.5, -1.0], [-0.6, 0.4]]),
        stds=[0.7, 0.9],
        weights=[0.3, 0.7],
        conditions={},
        schedule=NoiseSchedule.from_betas(np.linspace(1e-4, 0.02, 1_000)),
    )
    t, embedding = 400, model.embed_null()
    square = expectation(model, t, embedding, lambda x: model.score(x, t, embedding).square().sum(1), nodes=60)
    trace = expectation(model, t, embedding, lambda x: model.exact_spectrum(x, t, embedding).sum(1), nodes=60)
    assert square == pytest.approx(-trace, rel=1e-6)


def gaussians(std, std_given_c, mean=(0.3, -0.8)):
    """Two Gaussians of one mean, as two conditions of one model."""
    return GaussianMixture(
        "gaussians",
        torch.tensor([mean, mean]),
        stds=[std, std_given_c],
        weights=[0.5, 0.5],
        conditions={"wide": [1.0, 0.0], "tight": [0.0, 1.0]},
        schedule=NoiseSchedule.from_betas(np.linspace(1e-4, 0.02, 1_000)),
    )


def test_squared_hessian_score_is_minus_the_cubic_trace_for_a_gaussian():
    model, t = gaussians(0.8, 0.1), 300
    embedding = model.embed(["wide"])

    def square(x):
        return model.exact_hessian_product(x, t, embedding, model.score(x, t, embedding)).square().sum(1)

    variance = model.schedule.alpha(t) ** 2 * 0.8**2 + model.schedule.sigma(t) ** 2
    assert expectation(model, t, embedding, square, nodes=4) == pytest.approx(2 / variance**3)
    cubic = -model.exact_spectrum(torch.zeros(1, 2), t, embedding).pow(3).sum()
    assert float(cubic) == pytest.approx(2 / variance**3)


def test_score_difference_of_two_gaussians_of_equal_mean():
    """``E_{x|c} norm(s_c - s)^2 = tr((S^-1 - S_c^-1)^2 S_c)``."""
    model, t = gaussians(0.8, 0.1), 300
    wide, tight = model.embed(["wide"]), model.embed(["tight"])

    def square(x):
        return (model.score(x, t, tight) - model.score(x, t, wide)).square().sum(1)

    alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
    s, s_c = alpha**2 * 0.8**2 + sigma**2, alpha**2 * 0.1**2 + sigma**2
    assert expectation(model, t, tight, square, nodes=4) == pytest.approx(2 * (1 / s - 1 / s_c) ** 2 * s_c)


def test_single_precision_inputs_give_single_precision_outputs_of_the_same_value():
    single = make_mixture("fewer components than dimensions", dtype=torch.float32)
    x = torch.randn(4, 1, 2, 3, generator=torch.Generator().manual_seed(0))
    got = single.score(x, 499, single.embed_null())
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), single.score(x.double(), 499, single.embed_null()), rtol=1e-6, atol=1e-6)


def test_unknown_condition_names_the_known_ones():
    model = make_mixture("more components than dimensions")
    with pytest.raises(UserError, match="no condition 'other'; it knows: some, tight"):
        model.embed(["some", "other"])


def test_latent_shape_must_hold_the_dimensions():
    with pytest.raises(ValueError, match="does not hold 2 numbers"):
        make_mixture("more components than dimensions", latent_shape=(3,))


@pytest.mark.parametrize(
    "change",
    [
        {"stds": [0.5, 0.1, 0.8, 0.0, 0.31]},
        {"weights": [0.2, 0.1, 0.4, 0.2, 0.1]},
        {"conditions": {"some": [0.0, 0.3, 0.0, 0.2, 0.5]}},
        {"prediction_type": "v"},
        {"schedule": NoiseSchedule.rectified_flow()},
    ],
)
def test_fingerprint_sees_every_parameter(change):
    name = "more components than dimensions"
    assert make_mixture(name).fingerprint() == make_mixture(name).fingerprint()
    assert make_mixture(name, **change).fingerprint() != make_mixture(name).fingerprint()
