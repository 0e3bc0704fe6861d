"""Traces, norms and diagonals against dense matrices."""

import pytest
import torch

from memdet.curvature import diagonal, frobenius, full_spectrum, hutch_plus_plus, hutchinson, jacobian_matrix, xtrace

D, BATCH = 40, 3


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def signs(count, batch=BATCH, shape=(D,), seed=1):
    return [draw(batch, *shape, seed=seed * 1_000 + index).sign() for index in range(count)]


def product_of(matrices):
    return lambda v: (matrices @ v.flatten(1)[:, :, None]).squeeze(2).view_as(v)


def trace_of(matrices):
    return matrices.diagonal(dim1=1, dim2=2).sum(dim=1)


@pytest.fixture(scope="module")
def general():
    """Neither symmetric nor of low rank."""
    return draw(BATCH, D, D)


@pytest.fixture(scope="module")
def spiked():
    """``-4 I`` plus rank 5, as the Hessian of a noisy density is, and a skew part of the same rank."""
    factor, other = draw(BATCH, D, 5), draw(BATCH, D, 5, seed=2)
    return -4 * torch.eye(D, dtype=torch.float64) + factor @ factor.mT + factor @ other.mT - other @ factor.mT


@pytest.mark.parametrize("estimator", [hutchinson, hutch_plus_plus, xtrace])
def test_estimators_are_unbiased_and_know_their_error(estimator, general):
    """Over many repetitions the mean is the trace, and the stated error is the scatter."""
    estimates = [estimator(product_of(general), signs(8, seed=seed)) for seed in range(1, 401)]
    values = torch.stack([estimate.value for estimate in estimates])
    scatter = values.std(dim=0)
    assert ((values.mean(dim=0) - trace_of(general)).abs() < 4 * scatter / len(values) ** 0.5).all()
    stated = torch.stack([estimate.standard_error for estimate in estimates]).square().mean(dim=0).sqrt()
    assert ((stated / scatter - 1).abs() < 0.25).all()


@pytest.mark.parametrize(("estimator", "products"), [(hutchinson, 6), (hutch_plus_plus, 9), (xtrace, 12)])
def test_products_are_counted(estimator, products, general):
    calls = []

    def product(v):
        calls.append(1)
        return product_of(general)(v)

    assert estimator(product, signs(6)).products == len(calls) == products


@pytest.mark.parametrize("shape", [(D,), (4, 2, 5)])
@pytest.mark.parametrize("estimator", [hutch_plus_plus, xtrace])
def test_a_sketch_larger_than_the_rank_of_the_shifted_matrix_is_exact(estimator, shape, spiked):
    estimate = estimator(product_of(spiked), signs(24, shape=shape), shift=4.0)
    torch.testing.assert_close(estimate.value, trace_of(spiked), rtol=1e-12, atol=1e-10)
    assert (estimate.standard_error < 1e-10).all()


@pytest.mark.parametrize("estimator", [hutch_plus_plus, xtrace])
def test_a_shift_an_item(estimator, spiked):
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    matrices = scale[:, None, None] * spiked
    estimate = estimator(product_of(matrices), signs(24), shift=4 * scale)
    torch.testing.assert_close(estimate.value, trace_of(matrices), rtol=1e-12, atol=1e-10)


def test_signs_see_off_diagonal_entries_alone():
    scale = draw(BATCH, D)
    estimate = hutchinson(lambda v: scale * v, signs(1))
    torch.testing.assert_close(estimate.value, scale.sum(dim=1))
    assert estimate.standard_error.isnan().all()
    assert (hutchinson(lambda v: scale * v, signs(5)).standard_error < 1e-12).all()


def test_frobenius_norm(general):
    estimate = frobenius(product_of(general), signs(400))
    exact = torch.linalg.matrix_norm(general)
    assert ((estimate.value - exact).abs() < 4 * estimate.standard_error).all()
    assert (estimate.standard_error < 0.02 * exact).all()


def test_diagonal(general):
    matrices = general + 5 * torch.eye(D, dtype=torch.float64)
    estimate = diagonal(product_of(matrices), signs(900, shape=(5, 8)))
    exact = matrices.diagonal(dim1=1, dim2=2).reshape(BATCH, 5, 8)
    assert ((estimate.value - exact).abs() / estimate.standard_error).square().mean() == pytest.approx(1, abs=0.3)
    assert (estimate.standard_error < 0.4).all()


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_full_spectrum(general, chunk, transposed):
    product = product_of(general.mT if transposed else general)
    expected = torch.linalg.eigvalsh((general + general.mT) / 2)
    torch.testing.assert_close(full_spectrum(product, draw(BATCH, 5, 8), chunk=chunk), expected)


def test_matrix_has_products_as_columns(general):
    torch.testing.assert_close(jacobian_matrix(product_of(general), draw(BATCH, D)), general)


def test_too_large_a_matrix_is_refused_before_any_product():
    def product(v):
        raise AssertionError("no product may be made")

    with pytest.raises(ValueError, match=r"3 items in 40 dimensions takes .* GiB may be used: take fewer items"):
        full_spectrum(product, draw(BATCH, D), memory=BATCH * D * D * 8 - 1)
    with pytest.raises(ValueError, match="2 items in 10,000,000 dimensions takes 1490116.1 GiB"):
        full_spectrum(product, torch.zeros(1, 1, dtype=torch.float64).expand(2, 10_000_000))


@pytest.mark.parametrize("estimator", [hutchinson, hutch_plus_plus, xtrace, frobenius, diagonal])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_a_product_that_is_not_finite_is_seen_in_its_item_and_in_no_other(estimator, wrong, general):
    matrices = general.clone()
    matrices[2, 0, 0] = wrong
    found, good = (estimator(product_of(m), signs(4)).value.reshape(len(m), -1) for m in (matrices, general))
    is_other = torch.arange(len(matrices)) != 2
    assert not found[2].isfinite().all()
    torch.testing.assert_close(found[is_other], good[is_other], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("estimator", "count", "message"),
    [(hutch_plus_plus, 1, "at least two probes"), (xtrace, 1, "take 2 to 40"), (xtrace, D + 1, "take 2 to 40")],
)
def test_wrong_number_of_probes(estimator, count, message, general):
    with pytest.raises(ValueError, match=message):
        estimator(product_of(general), signs(count))


def test_a_sketch_with_more_columns_than_dimensions_is_exact_and_counts_its_products():
    matrices, made = draw(BATCH, 2, 2), []
    product = product_of(matrices)
    estimate = hutch_plus_plus(lambda v: made.append(v) or product(v), signs(12, shape=(2,)))
    torch.testing.assert_close(estimate.value, trace_of(matrices))
    assert estimate.products == len(made) == 6 + 2 + 6
