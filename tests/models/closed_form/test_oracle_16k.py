"""Closed forms beyond small mixtures: against dense matrices at small d, against identities at d = 16,384."""

import time
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.fft import dct as scipy_dct

from memdet.errors import UserError
from memdet.models import (
    PREDICTION_TYPES,
    ClosedForm,
    Condition,
    DCTGaussian,
    GaussianMixture,
    NoiseSchedule,
    Skewed,
    load_model,
)
from memdet.models.closed_form.dct import dct, inverse_dct
from memdet.models.closed_form.oracle_16k import COPIES, oracle_16k_items, oracle_16k_table
from memdet.samplesets import load_sample_set, load_suite, specs_directory
from tests.helpers.problems import MIXTURES, exact_hessian, make_mixture, scaled_linear_betas

TIMES = [29, 499, 981]
SD = NoiseSchedule.from_betas(scaled_linear_betas())
EDM = NoiseSchedule(np.ones(1_000), np.geomspace(0.002, 80, 1_000))
BIG = (4, 64, 64)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def jacobian(model, x, t, embedding):
    """Dense Jacobian of the score at one item, ``[d, d]``, by autograd."""
    d = x.numel()
    return torch.autograd.functional.jacobian(lambda z: model.score(z, t, embedding)[0], x).reshape(d, d)


def gaussian(shape=(2, 3), prediction_type="eps", schedule=SD):
    d = int(np.prod(shape))
    spectra = 1 / torch.arange(1.0, d + 1, dtype=torch.float64), torch.linspace(0, 0.3, d, dtype=torch.float64)
    means = normal(*shape, seed=1), normal(*shape, seed=2)
    return DCTGaussian("g", means[0], spectra[0], {"c": (means[1], spectra[1])}, schedule, prediction_type)


def models(prediction_type="eps", schedule=SD):
    """One of each closed form at a small d, with the conditions and the null branch as a batch of embeddings."""
    options = {"prediction_type": prediction_type, "schedule": schedule}
    built = [make_mixture(name, **options) for name in MIXTURES]
    built += [gaussian(prediction_type=prediction_type, schedule=schedule), Skewed(built[1], 0.3)]
    conditions = [list(MIXTURES[name]["conditions"]) for name in MIXTURES]
    for model, known in zip(built, [*conditions, ["c", "c"], conditions[1]], strict=True):
        yield model, Condition.cat([model.embed(known), model.embed_null()])


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
def test_curvature_is_that_of_the_score(prediction_type, t):
    """Product, spectrum, trace and differences against dense Jacobians, by autograd through every conversion."""
    schedule = NoiseSchedule.rectified_flow() if prediction_type == "flow" else SD
    for model, embedding in models(prediction_type, schedule):
        assert isinstance(model, ClosedForm)
        sigma = schedule.sigma(t)
        x, v = sigma * normal(3, *model.latent_shape), normal(3, *model.latent_shape, seed=5)
        dense = [jacobian(model, x[row : row + 1], t, embedding.rows(slice(row, row + 1))) for row in range(3)]
        close = {"rtol": 1e-7, "atol": 1e-8 / sigma**2}
        product = model.exact_hessian_product(x, t, embedding, v)
        spectrum, trace = model.exact_spectrum(x, t, embedding), model.exact_trace(x, t, embedding)
        for row, matrix in enumerate(dense):
            torch.testing.assert_close(product[row].flatten(), matrix @ v[row].flatten(), **close)
            symmetric = (matrix + matrix.T) / 2
            torch.testing.assert_close(spectrum[row], torch.linalg.eigvalsh(symmetric), **close)
            torch.testing.assert_close(trace[row], matrix.trace(), **close)
        assert (spectrum >= -1 / sigma**2 * (1 + 1e-12)).all()


@pytest.mark.parametrize("t", TIMES)
def test_difference_of_two_branches(t):
    for model, embedding in models():
        x = (0.5 * normal(1, *model.latent_shape)).expand(3, *model.latent_shape)
        null = embedding.rows(slice(2, None))
        got = model.exact_difference_spectrum(x, t, embedding, null)
        norm = model.exact_difference_frobenius(x, t, embedding, null)
        close = {"rtol": 1e-7, "atol": 1e-8 / SD.sigma(t) ** 2}
        other = jacobian(model, x[:1], t, null)
        for row in range(3):
            matrix = jacobian(model, x[:1], t, embedding.rows(slice(row, row + 1))) - other
            torch.testing.assert_close(got[row], torch.linalg.eigvalsh((matrix + matrix.T) / 2), **close)
            torch.testing.assert_close(norm[row], ((matrix + matrix.T) / 2).norm(), **close)
        assert float(norm[2]) == 0  # a branch less itself


@pytest.mark.parametrize("n", [1, 2, 5, 8, 13])
def test_cosine_transform_is_orthonormal_and_that_of_scipy(n):
    x = normal(3, n)
    torch.testing.assert_close(dct(x), torch.from_numpy(scipy_dct(x.numpy(), norm="ortho")), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(inverse_dct(dct(x)), x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t", [20, 499])
def test_gaussian_against_its_dense_density(t):
    model = gaussian()
    basis = dct(torch.eye(6, dtype=torch.float64))  # row i is the transform of the i-th unit vector
    alpha, sigma = SD.alpha(t), SD.sigma(t)
    variances = alpha**2 / torch.arange(1.0, 7, dtype=torch.float64) + sigma**2
    density = torch.distributions.MultivariateNormal(
        alpha * normal(2, 3, seed=1).flatten(), basis @ variances.diag() @ basis.T
    )
    x = normal(1, 2, 3).requires_grad_(True)
    expected = torch.autograd.grad(density.log_prob(x.flatten()), x)[0]
    torch.testing.assert_close(model.score(x.detach(), t, model.embed_null()), expected, rtol=1e-9, atol=1e-9)
    spectrum = model.exact_spectrum(x.detach(), t, model.embed_null())
    torch.testing.assert_close(spectrum[0], (-1 / variances).sort().values)


def test_gaussian_refuses_what_is_no_covariance_and_unknown_conditions():
    with pytest.raises(ValueError, match="none of them negative"):
        DCTGaussian("g", torch.zeros(2), torch.tensor([1.0, -1.0]), {}, SD)
    with pytest.raises(UserError, match="no condition 'd'; it knows: c"):
        gaussian().embed(["d"])


def test_skew_term_is_skew_and_of_the_size_asked_for():
    model, t = Skewed(make_mixture("fewer components than dimensions"), 0.2), 499
    x, e = normal(1, *model.latent_shape), model.embed_null()
    skew = jacobian(model, x, t, e) - jacobian(model.wrapped, x, t, e)
    torch.testing.assert_close(skew.T, -skew)
    torch.testing.assert_close(skew @ skew.T, (0.2 / SD.sigma(t) ** 2) ** 2 * torch.eye(6, dtype=torch.float64))
    assert model.fingerprint() != model.wrapped.fingerprint()
    with pytest.raises(ValueError, match="halves"):
        Skewed(gaussian(shape=(3,)), 0.2)


@pytest.mark.parametrize("t", TIMES)
def test_rescaled_sample(t):
    """The same mixture as EDM sees it, ``y = x / alpha``: a denoiser of noise ``sigma / alpha``."""
    alpha, sigma = SD.alpha(t), SD.sigma(t)
    name = "fewer components than dimensions"
    model = make_mixture(name)
    rescaled = make_mixture(name, schedule=NoiseSchedule(np.ones(1), np.array([sigma / alpha])), prediction_type="x0")
    x, v, e = normal(2, *model.latent_shape), normal(2, *model.latent_shape, seed=3), model.embed_null()
    denoised = rescaled.predict(x / alpha, 0, e)
    torch.testing.assert_close((alpha * denoised - x) / sigma**2, model.score(x, t, e), rtol=1e-9, atol=1e-9)
    score = rescaled.score(x / alpha, 0, e) / alpha
    torch.testing.assert_close(score, model.score(x, t, e), rtol=1e-9, atol=1e-9)
    product = rescaled.exact_hessian_product(x / alpha, 0, e, v) / alpha**2
    torch.testing.assert_close(product, model.exact_hessian_product(x, t, e, v), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("t", [300, 600, 999])
def test_edm_denoiser(t):
    """``alpha = 1``: the score is ``(D - x) / sigma^2``, and its derivative the Hessian of the density."""
    name = "more components than dimensions"
    model = make_mixture(name, schedule=EDM, prediction_type="x0")
    sigma, x, e = EDM.sigma(t), normal(1, 2), model.embed_null()
    torch.testing.assert_close(model.score(x, t, e), (model.predict(x, t, e) - x) / sigma**2)
    expected = exact_hessian(x.flatten(), name, MIXTURES[name]["weights"], 1.0, sigma)
    torch.testing.assert_close(jacobian(model, x, t, e), expected, rtol=1e-7, atol=1e-8 / sigma**2)


@pytest.mark.parametrize("t", [20, 499, 981])
def test_empirical_set_in_many_dimensions(t):
    """The denoiser is the softmax-weighted mean, ``H = (alpha^2 Cov[x_0 | x_t] - sigma^2 I) / sigma^4``."""
    points = normal(5, *BIG) * 0.1
    model = GaussianMixture.empirical("set", points, {"two": [0, 3]}, SD, copies=[1, 2, 1, 5, 1], prediction_type="x0")
    alpha, sigma = SD.alpha(t), SD.sigma(t)
    x, v = alpha * points[3:4] + sigma * normal(1, *BIG, seed=4), normal(1, *BIG, seed=6)
    embedding = model.embed(["two"])
    weight = torch.softmax(
        torch.stack([-(x - alpha * points[i]).square().sum() / (2 * sigma**2) for i in (0, 3)])
        + torch.tensor([1.0, 5.0], dtype=torch.float64).log(),
        dim=0,
    )
    mean = weight[0] * points[0] + weight[1] * points[3]
    torch.testing.assert_close(model.predict(x, t, embedding)[0], mean, rtol=1e-7, atol=1e-9)
    gap = points[0] - points[3]
    covariance_v = weight.prod() * gap * (gap * v[0]).sum()
    expected = (alpha**2 * covariance_v - sigma**2 * v[0]) / sigma**4
    got = model.exact_hessian_product(x, t, embedding, v)[0]
    torch.testing.assert_close(got, expected, rtol=1e-7, atol=1e-8 / sigma**2)


def big_models():
    oracle = load_model("oracle-16k")
    names = [item.condition for item in oracle_16k_items() if item.stratum in ("atoms-10", "broad")][:2]
    yield oracle, Condition.cat([oracle.embed(names), oracle.embed_null()])
    big = gaussian(shape=BIG)
    yield big, Condition.cat([big.embed(["c", "c"]), big.embed_null()])
    skewed = Skewed(big, 0.2)
    yield skewed, Condition.cat([big.embed(["c", "c"]), big.embed_null()])


@pytest.mark.slow
def test_identities_in_16384_dimensions():
    """The spectrum against products alone: forward AD of the score, and Hutchinson's estimates of two traces."""
    t = 981
    for model, embedding in big_models():
        sigma = model.schedule.sigma(t)
        x = normal(1, *BIG).expand(3, *BIG).contiguous()
        signs = normal(40, *BIG, seed=7).sign()
        spectrum = model.exact_spectrum(x, t, embedding)
        assert spectrum.shape == (3, 16_384)
        assert (spectrum >= -1 / sigma**2 * (1 + 1e-12)).all()
        v = signs[:1].expand(3, *BIG).contiguous()
        _, product = torch.func.jvp(lambda z, m=model, e=embedding: m.score(z, t, e), (x,), (v,))
        torch.testing.assert_close(product, model.exact_hessian_product(x, t, embedding, v), rtol=1e-8, atol=1e-8)
        for row in range(3):
            e = embedding.rows(slice(row, row + 1))
            products = model.exact_hessian_product(x[:1].expand(40, *BIG), t, e, signs)
            forms = (signs * products).flatten(1).sum(1)
            error = forms.std() / 40**0.5
            assert abs(forms.mean() - spectrum[row].sum()) < 4 * error + 1e-9
            null = model.exact_hessian_product(x[:1].expand(40, *BIG), t, embedding.rows(slice(2, None)), signs)
            squares = (products - null).flatten(1).square().sum(1)
            exact = model.exact_difference_frobenius(x[:1], t, e, embedding.rows(slice(2, None)))[0] ** 2
            assert abs(squares.mean() - exact) < 4 * squares.std() / 40**0.5 + 1e-9


@pytest.mark.slow
def test_oracle_is_built_quickly_and_always_the_same():
    start = time.perf_counter()
    model = load_model("oracle-16k")
    assert time.perf_counter() - start < 10  # well under a second on an idle core
    assert (model.name, model.latent_shape, model.takes_prompts) == ("oracle-16k", BIG, False)
    assert model.fingerprint() == load_model("oracle-16k").fingerprint()


def test_oracle_sample_set_is_the_table_that_the_code_writes():
    sample_set = load_sample_set("oracle-16k")
    assert (specs_directory() / "data" / "oracle-16k.csv").read_text() == oracle_16k_table()
    strata = Counter(zip(sample_set.items["stratum"], sample_set.items["label"], strict=True))
    assert strata == {("atoms-1", 1): 24, ("atoms-3", 1): 24, ("atoms-10", 1): 24, ("broad", 0): 128}
    model = load_model("oracle-16k")
    embedding = model.embed(sample_set.items["condition"].tolist())
    assert torch.allclose(embedding.tensor.sum(1), torch.ones(200, dtype=torch.float64))
    items = {item.condition: item for item in oracle_16k_items()}
    for condition, row in zip(sample_set.items["condition"], embedding.tensor, strict=True):
        item, own = items[condition], row[1:] > 0
        assert int(own.sum()) == item.components
        assert float(row[0]) == pytest.approx(item.share)
        assert set(model.embed_null().tensor[0, 1:][own].tolist()) == {
            float(item.copies)
        }  # an atom's weight is its copies


def test_oracle_copies_are_balanced_and_shares_are_alike():
    """Neither the number of copies nor the share of the broad component gives a stratum away."""
    items = oracle_16k_items()
    for stratum in ("atoms-1", "atoms-3", "atoms-10"):
        assert Counter(i.copies for i in items if i.stratum == stratum) == dict.fromkeys(COPIES, 6)
    shares = {s: np.mean([i.share for i in items if i.stratum == s]) for s in ("atoms-1", "atoms-10", "broad")}
    assert max(shares.values()) < 1.2 * min(shares.values())


def test_exact_curvature_ranks_the_oracle_as_it_was_built_to():
    """At the starting noise ten far atoms spread as the broad component does: the trace is blind, its floor is not."""
    model, items = load_model("oracle-16k"), oracle_16k_items()
    x = torch.randn(1, *BIG, generator=torch.Generator().manual_seed(0)).double()
    values = {"smallest": [], "trace": []}
    for item in items:
        embedding = model.embed([item.condition])
        spectrum = model.exact_spectrum(x, 981, embedding)[0]
        values["smallest"].append(-float(spectrum[0]))
        values["trace"].append(-float(spectrum.sum()))
    negatives = [i for i, item in enumerate(items) if not item.memorized]

    def area(name, chosen):
        scores = np.array(values[name])
        positives = [i for i, item in enumerate(items) if item.memorized and chosen(item)]
        return np.mean(np.sign(scores[positives][:, None] - scores[negatives][None]) / 2 + 0.5)

    doses = [area("smallest", lambda item, n=n: item.copies == n) for n in COPIES]
    assert doses == sorted(doses)
    assert 0.75 < area("smallest", lambda item: True) < 0.95
    assert area("smallest", lambda item: item.stratum == "atoms-10") > 0.75
    assert area("trace", lambda item: item.stratum == "atoms-10") < 0.45 < area("trace", lambda item: True)


def test_oracle_suite_names_known_sets_and_detectors():
    from memdet.detectors import detector_classes, make_detectors

    suite = load_suite("oracle")
    assert suite.sample_sets == ["mixture-2d", "oracle-16k"]
    labels = {detector.label for detector in make_detectors(suite.detectors, detector_classes())}
    assert {"jeon2025", "hessian-trace@t=200"} <= labels
