"""Ritz values against dense eigenvalues of the symmetric part."""

import pytest
import torch

from memdet.curvature import ritz

D = 12


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def product_of(matrices):
    return lambda v: (matrices @ v.flatten(1)[:, :, None]).squeeze(2).view_as(v)


def symmetric_part(matrices):
    return (matrices + matrices.mT) / 2


def test_full_space_gives_every_eigenvalue_of_the_symmetric_part():
    """Three-term Lanczos would give other values: the matrices are far from symmetric."""
    matrices = draw(3, D, D)
    values, weights = ritz(product_of(matrices), draw(3, D, seed=1), D)
    torch.testing.assert_close(values, torch.linalg.eigvalsh(symmetric_part(matrices)), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=torch.float64))


def test_full_space_in_single_precision():
    matrices = draw(3, D, D)
    values, _ = ritz(product_of(matrices.float()), draw(3, D, seed=1).float(), D)
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, torch.linalg.eigvalsh(symmetric_part(matrices)), rtol=1e-4, atol=1e-4)


def test_no_more_products_than_dimensions():
    calls = []
    matrices = draw(2, D, D)

    def product(v):
        calls.append(v.shape)
        return product_of(matrices)(v)

    values, weights = ritz(product, draw(2, 3, 4, seed=1), D + 5)
    assert calls == [(2, 3, 4)] * D
    assert values.shape == weights.shape == (2, D)


def test_extreme_value_beyond_a_gap_needs_few_steps():
    """Signed shifts make the matrix non-symmetric without changing the symmetric part."""
    d = 100
    orthogonal = torch.linalg.qr(draw(d, d)).Q
    eigenvalues = torch.linspace(-1, 1, d, dtype=torch.float64)
    eigenvalues[0] = -10
    shift = torch.eye(d, dtype=torch.float64).roll(1, 0)
    matrix = orthogonal @ eigenvalues.diag() @ orthogonal.T + 0.05 * (shift - shift.T)
    values, _ = ritz(product_of(matrix[None]), draw(1, d, seed=1), 10)
    assert float(values[0, 0]) == pytest.approx(-10, rel=1e-4)
    assert values.min() >= -10 - 1e-9
    assert values.max() <= 1 + 1e-9


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_values_stay_inside_the_spectrum_of_the_symmetric_part(steps):
    matrices = draw(4, D, D)
    values, _ = ritz(product_of(matrices), draw(4, D, seed=1), steps)
    spectrum = torch.linalg.eigvalsh(symmetric_part(matrices))
    assert (values >= spectrum[:, :1] - 1e-10).all()
    assert (values <= spectrum[:, -1:] + 1e-10).all()


def low_rank():
    factor = draw(D, 2)
    return factor @ factor.T


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    "matrix",
    [torch.eye(D, dtype=torch.float64), -3 * torch.eye(D, dtype=torch.float64), low_rank(), torch.zeros(D, D)],
    ids=["identity", "multiple", "low-rank", "zero"],
)
@pytest.mark.parametrize("steps", [4, D])
def test_exhausted_spaces(matrix, steps, dtype):
    matrix = matrix.to(dtype)
    values, weights = ritz(product_of(matrix[None]), draw(1, D, seed=1).to(dtype), steps)
    spectrum = torch.linalg.eigvalsh(matrix.double())
    slack = 1e-5 * max(1.0, float(spectrum.abs().max()))
    assert torch.isfinite(values).all()
    assert values.min() >= spectrum[0] - slack
    assert values.max() <= spectrum[-1] + slack
    assert float(weights.sum()) == pytest.approx(1)
    if steps == D:
        torch.testing.assert_close(values[0], spectrum, rtol=0, atol=slack)


def test_one_exhausted_item_leaves_the_others_alone():
    matrices = torch.stack([torch.eye(D, dtype=torch.float64), symmetric_part(draw(D, D))])
    start = draw(2, D, seed=1)
    values, _ = ritz(product_of(matrices), start, 5)
    alone, _ = ritz(product_of(matrices[1:]), start[1:], 5)
    torch.testing.assert_close(values[1], alone[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(values[0], torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_quadrature_of_the_spectral_measure(steps):
    """``m`` nodes integrate polynomials up to degree ``2 m - 1`` where the matrix is symmetric."""
    matrices = symmetric_part(draw(3, D, D))
    start = draw(3, D, seed=1)
    v = start / start.norm(dim=1, keepdim=True)
    values, weights = ritz(product_of(matrices), start, steps)
    power = v
    for degree in range(2 * steps):
        moment = (v * power).sum(1)
        torch.testing.assert_close((weights * values**degree).sum(1), moment, rtol=1e-10, atol=1e-10)
        power = product_of(matrices)(power)


@pytest.mark.parametrize("steps", [1, 3, D])
def test_first_moment_where_the_matrix_is_not_symmetric(steps):
    matrices, start = draw(3, D, D), draw(3, D, seed=1)
    v = start / start.norm(dim=1, keepdim=True)
    values, weights = ritz(product_of(matrices), start, steps)
    torch.testing.assert_close((weights * values).sum(1), (v * product_of(matrices)(v)).sum(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=torch.float64))
