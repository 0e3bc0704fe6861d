"""Ritz values against dense eigenvalues of the symmetric part."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from memdet.curvature import krylov, spectral_density

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
    space = krylov(product_of(matrices), draw(3, D, seed=1), D)
    values, weights = space.values, space.weights
    torch.testing.assert_close(values, torch.linalg.eigvalsh(symmetric_part(matrices)), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=torch.float64))


def test_full_space_in_single_precision():
    matrices = draw(3, D, D)
    values = krylov(product_of(matrices.float()), draw(3, D, seed=1).float(), D).values
    assert values.dtype == torch.float64
    torch.testing.assert_close(values, torch.linalg.eigvalsh(symmetric_part(matrices)), rtol=1e-4, atol=1e-4)


def test_one_product_a_step():
    calls = []
    matrices = draw(2, D, D)

    def product(v):
        calls.append(v.shape)
        return product_of(matrices)(v)

    space = krylov(product, draw(2, 3, 4, seed=1), 5)
    assert calls == [(2, 3, 4)] * 5
    assert space.products == 5
    assert space.dimension == D


@pytest.mark.parametrize("steps", [0, D + 1])
def test_more_steps_than_dimensions_are_refused(steps):
    with pytest.raises(ValueError, match=f"{steps} Krylov steps in {D} dimensions: take 1 to {D}"):
        krylov(product_of(draw(2, D, D)), draw(2, D), steps)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("steps", [4, D])
def test_an_item_whose_products_are_not_finite_gets_nan_and_no_other_item_does(steps, wrong):
    matrices = draw(3, D, D)
    good = krylov(product_of(matrices), draw(3, D, seed=1), steps)
    good_density = spectral_density(product_of(matrices), [draw(3, D, seed=1)], steps)
    matrices[1, 2, 3] = wrong
    space = krylov(product_of(matrices), draw(3, D, seed=1), steps)
    density = spectral_density(product_of(matrices), [draw(3, D, seed=1)], steps)
    for found, expected in (
        (space.values, good.values),
        (space.extreme(2, "largest").value, good.extreme(2, "largest").value),
        (space.extreme(1).residual, good.extreme(1).residual),
        (space.count(0.0), good.count(0.0)),
        (space.asymmetry, good.asymmetry),
        (density.trace(torch.exp).value, good_density.trace(torch.exp).value),
    ):
        assert found[1].isnan().all()
        assert torch.equal(found[::2], expected[::2])


def test_extreme_value_beyond_a_gap_needs_few_steps():
    """Signed shifts make the matrix non-symmetric without changing the symmetric part."""
    d = 100
    orthogonal = torch.linalg.qr(draw(d, d)).Q
    eigenvalues = torch.linspace(-1, 1, d, dtype=torch.float64)
    eigenvalues[0] = -10
    shift = torch.eye(d, dtype=torch.float64).roll(1, 0)
    matrix = orthogonal @ eigenvalues.diag() @ orthogonal.T + 0.05 * (shift - shift.T)
    values = krylov(product_of(matrix[None]), draw(1, d, seed=1), 10).values
    assert float(values[0, 0]) == pytest.approx(-10, rel=1e-4)
    assert values.min() >= -10 - 1e-9
    assert values.max() <= 1 + 1e-9


@pytest.mark.parametrize("steps", [1, 3, 6])
def test_values_stay_inside_the_spectrum_of_the_symmetric_part(steps):
    matrices = draw(4, D, D)
    values = krylov(product_of(matrices), draw(4, D, seed=1), steps).values
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
    space = krylov(product_of(matrix[None]), draw(1, D, seed=1).to(dtype), steps)
    values, weights = space.values, space.weights
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
    values = krylov(product_of(matrices), start, 5).values
    alone = krylov(product_of(matrices[1:]), start[1:], 5).values
    torch.testing.assert_close(values[1], alone[0], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(values[0], torch.ones(5, dtype=torch.float64))


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_quadrature_of_the_spectral_measure(steps):
    """``m`` nodes integrate polynomials up to degree ``2 m - 1`` where the matrix is symmetric."""
    matrices = symmetric_part(draw(3, D, D))
    start = draw(3, D, seed=1)
    v = start / start.norm(dim=1, keepdim=True)
    space = krylov(product_of(matrices), start, steps)
    values, weights = space.values, space.weights
    power = v
    for degree in range(2 * steps):
        moment = (v * power).sum(1)
        torch.testing.assert_close((weights * values**degree).sum(1), moment, rtol=1e-10, atol=1e-10)
        power = product_of(matrices)(power)


@pytest.mark.parametrize("steps", [1, 3, D])
def test_first_moment_where_the_matrix_is_not_symmetric(steps):
    matrices, start = draw(3, D, D), draw(3, D, seed=1)
    v = start / start.norm(dim=1, keepdim=True)
    space = krylov(product_of(matrices), start, steps)
    values, weights = space.values, space.weights
    torch.testing.assert_close((weights * values).sum(1), (v * product_of(matrices)(v)).sum(1), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(weights.sum(1), torch.ones(3, dtype=torch.float64))


def test_extreme_values_and_which():
    diagonal = torch.arange(1.0, D + 1, dtype=torch.float64).expand(2, D)
    space = krylov(lambda v: diagonal * v, draw(2, D), D)
    assert space.extreme(2, "smallest").value[0].tolist() == pytest.approx([1, 2])
    assert space.extreme(3, "largest").value[1].tolist() == pytest.approx([12, 11, 10])
    with pytest.raises(ValueError, match="k = 13 eigenvalues of a Krylov space of dimension 12"):
        space.extreme(13)


@pytest.mark.parametrize("steps", [2, 5, 9])
def test_residual_is_the_distance_that_the_ritz_vector_misses_by(steps):
    """Where J is symmetric: against the vector itself, built from a basis of our own by QR of the Krylov matrix."""
    matrices, start = symmetric_part(draw(3, D, D)), draw(3, D, seed=1)
    extreme = krylov(product_of(matrices), start, steps).extreme(1)
    columns = [start]
    for _ in range(steps - 1):
        columns.append(product_of(matrices)(columns[-1]))
        columns[-1] = columns[-1] / columns[-1].norm(dim=1, keepdim=True)
    q = torch.linalg.qr(torch.stack(columns, dim=2)).Q
    values, coordinates = torch.linalg.eigh(q.mT @ matrices @ q)
    vector = q @ coordinates[:, :, :1]
    missed = (matrices @ vector - values[:, None, :1] * vector).norm(dim=(1, 2))
    torch.testing.assert_close(extreme.residual[:, 0], missed, rtol=1e-6, atol=1e-9)
    nearest = (torch.linalg.eigvalsh(matrices) - extreme.value).abs().amin(dim=1)
    assert (nearest <= extreme.residual[:, 0] + 1e-12).all()


def test_asymmetry_of_the_whole_space():
    matrices = draw(3, D, D)
    expected = torch.linalg.matrix_norm(matrices - matrices.mT) / torch.linalg.matrix_norm(matrices + matrices.mT)
    torch.testing.assert_close(krylov(product_of(matrices), draw(3, D, seed=1), D).asymmetry, expected)
    symmetric = krylov(product_of(symmetric_part(matrices)), draw(3, D, seed=1), 6)
    assert (symmetric.asymmetry < 1e-10).all()


def test_counts():
    diagonal = torch.tensor([-3.0] * 4 + [1.0] * 8, dtype=torch.float64).expand(2, D)
    whole = krylov(lambda v: diagonal * v, draw(2, D), D)
    assert whole.count(0.0).tolist() == [4, 4]
    assert whole.count(torch.tensor([-4.0, 2.0])).tolist() == [0, 12]


def test_counting_all_or_none_is_exact_whatever_the_start():
    factors = draw(20, D, D)
    space = krylov(product_of(-factors @ factors.mT), draw(20, D, seed=1), 5)
    assert (space.values < 0).all()
    assert space.count(0.0).tolist() == [D] * 20
    assert space.count(-100.0).tolist() == [0] * 20


def test_count_from_signs_is_exact_where_eigenvectors_are_axes():
    """A vector of signs has the same weight on every axis, so two steps of quadrature count exactly."""
    diagonal = torch.tensor([-3.0] * 4 + [1.0] * 8, dtype=torch.float64).expand(2, D)
    signs = draw(2, D).sign()
    assert krylov(lambda v: diagonal * v, signs, 2).count(0.0).tolist() == pytest.approx([4, 4])


@pytest.mark.slow
def test_spectral_density_integrates_functions():
    matrices = symmetric_part(draw(2, D, D))
    starts = [draw(2, D, seed=seed).sign() for seed in range(400)]
    density = spectral_density(product_of(matrices), starts, D)
    assert density.products == 400 * D
    estimate = density.trace(torch.exp)
    exact = torch.linalg.eigvalsh(matrices).exp().sum(dim=1)
    assert ((estimate.value - exact).abs() < 4 * estimate.standard_error).all()
    assert (estimate.standard_error < 0.1 * exact).all()
    grid = torch.linspace(-30, 30, 6_001, dtype=torch.float64)
    mass = density.smooth(grid, width=0.3).sum(dim=1) * (grid[1] - grid[0])
    torch.testing.assert_close(mass, torch.ones(2, dtype=torch.float64), rtol=1e-6, atol=1e-6)


class Allocations(TorchDispatchMode):
    """Sizes of all tensors that own the memory they lie in."""

    def __init__(self):
        super().__init__()
        self.seen = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor):
                self.seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return result


def test_basis_is_the_only_large_allocation():
    batch, d, steps = 4, 4_096, 32
    scale = torch.linspace(-2, -1, d).expand(batch, d)
    start = torch.randn(batch, d, generator=torch.Generator().manual_seed(0))
    vector, basis = batch * d * 4, batch * d * 4 * steps
    with Allocations() as allocations:
        krylov(lambda v: scale * v, start, steps)
    sizes = sorted(allocations.seen.values(), reverse=True)
    assert sizes[0] == basis
    assert sizes[1] <= 2 * vector
