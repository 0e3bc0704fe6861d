"""Jacobian products against torch.autograd.functional.jacobian on a small network that is not symmetric."""

import pytest
import torch
from torch.nn.attention import SDPBackend
from torch.nn.functional import scaled_dot_product_attention

from memdet.curvature import JacobianOperator, Known
from tests.helpers.products import TOLERANCE, Count, D, jacobians, relative


@pytest.mark.parametrize("backend", ["jvp", "fd", "fd-one-sided"])
def test_product(network, points, backend):
    x, v, _ = points
    jacobian = jacobians(network, x)
    expected = (jacobian @ v[:, :, None]).squeeze(2)
    assert relative((jacobian.mT @ v[:, :, None]).squeeze(2), expected) > 0.5  # the transpose would be noticed
    assert relative(JacobianOperator(network, x, backend).mv(v), expected) < TOLERANCE[backend]


@pytest.mark.parametrize("backend", ["jvp", "vjp", "fd", "fd-one-sided"])
def test_transposed_product(network, points, backend):
    x, _, u = points
    expected = (jacobians(network, x).mT @ u[:, :, None]).squeeze(2)
    assert relative(JacobianOperator(network, x, backend).rmv(u), expected) < 1e-12


def test_products_are_adjoint(network, points):
    x, v, u = points
    operator = JacobianOperator(network, x)
    torch.testing.assert_close((u * operator.mv(v)).sum(1), (operator.rmv(u) * v).sum(1), rtol=1e-12, atol=1e-12)


def test_finite_differences_hold_in_single_precision(network, points):
    x, v, _ = points
    exact = JacobianOperator(network, x).mv(v)

    def single(z):
        return network(z.double()).float()

    for backend, tolerance in (("fd", 3e-4), ("fd-one-sided", 5e-3)):
        assert relative(JacobianOperator(single, x.float(), backend).mv(v.float()).double(), exact) < tolerance


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("backend", ["fd", "fd-one-sided"])
def test_difference_quotient_does_not_depend_on_the_length_of_the_direction(network, points, backend, scale):
    x, v, _ = points
    operator = JacobianOperator(network, x, backend)
    torch.testing.assert_close(operator.mv(scale * v) / scale, operator.mv(v), rtol=1e-6, atol=1e-6)


def test_reverse_mode_alone_gives_no_product(network, points):
    x, v, _ = points
    with pytest.raises(ValueError, match=r"J\^T v"):
        JacobianOperator(network, x, "vjp").mv(v)


def test_unknown_backend(network, points):
    with pytest.raises(ValueError, match="unknown backend 'adjoint'; known: jvp, vjp, fd, fd-one-sided, closed-form"):
        JacobianOperator(network, points[0], "adjoint")


@pytest.mark.parametrize(
    ("backend", "told", "evaluations"),
    [
        ("jvp", {"forwards": 0, "jvps": 2, "vjps": 1}, 3),
        ("fd", {"forwards": 5, "jvps": 0, "vjps": 1}, 5),
        ("fd-one-sided", {"forwards": 3, "jvps": 0, "vjps": 1}, 4),
    ],
)
def test_cost_of_two_products_and_a_transposed_one(network, points, backend, told, evaluations):
    x, v, u = points
    count = Count(network)
    operator = JacobianOperator(count.f, x, backend, count=count, check=False)
    operator.mv(v)
    operator.mv(u)
    operator.rmv(u)
    assert count.told == told
    assert count.evaluations == evaluations


def test_one_sided_difference_uses_a_known_value(network, points):
    x, v, _ = points
    count = Count(network)
    operator = JacobianOperator(count.f, x, "fd-one-sided", known=Known(value=network(x)), count=count, check=False)
    product = operator.mv(v)
    assert count.told == {"forwards": 1, "jvps": 0, "vjps": 0}
    assert count.evaluations == 1
    assert torch.equal(product, JacobianOperator(network, x, "fd-one-sided").mv(v))


def test_value_is_computed_once_and_left_by_a_product(network, points):
    x, v, _ = points
    count = Count(network)
    operator = JacobianOperator(count.f, x, count=count)
    operator.mv(v)
    torch.testing.assert_close(operator.value, network(x), rtol=1e-14, atol=1e-14)
    assert count.told == {"forwards": 0, "jvps": 1, "vjps": 0}


@pytest.mark.parametrize("backend", ["jvp", "fd", "fd-one-sided"])
def test_items_do_not_interact(network, points, backend):
    x, v, _ = points
    whole = JacobianOperator(network, x, backend).mv(v)
    changed_x, changed_v = x.clone(), v.clone()
    changed_x[0] += 3
    changed_v[0] *= -7
    changed = JacobianOperator(network, changed_x, backend).mv(changed_v)
    torch.testing.assert_close(changed[1:], whole[1:], rtol=1e-12, atol=1e-12)
    for row in range(len(x)):
        alone = JacobianOperator(network, x[row : row + 1], backend).mv(v[row : row + 1])
        torch.testing.assert_close(alone[0], whole[row], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("backend", ["jvp", "fd", "fd-one-sided"])
def test_zero_direction_gives_zero(network, points, backend):
    x, v, _ = points
    v = v.clone()
    v[1] = 0
    product = JacobianOperator(network, x, backend).mv(v)
    assert torch.equal(product[1], torch.zeros(D, dtype=torch.float64))
    assert torch.isfinite(product).all()
    assert (product[0] != 0).any()


@pytest.mark.parametrize("backend", ["jvp", "fd", "fd-one-sided"])
def test_expanded_and_non_contiguous_inputs(network, points, backend):
    x, v, _ = points
    shared = x[:1].expand(4, -1)
    expected = JacobianOperator(network, shared.clone(), backend).mv(v)
    got = JacobianOperator(network, shared, backend).mv(v.T.contiguous().T)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


class Attention(torch.nn.Module):
    """Self-attention over four tokens of two features, through the fused entry point."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(7)
        self.weights = [torch.randn(2, 2, generator=generator, dtype=torch.float64) for _ in range(3)]

    def forward(self, x):
        tokens = x.view(len(x), 1, 4, 2)
        query, key, value = (tokens @ weight for weight in self.weights)
        return scaled_dot_product_attention(query, key, value).view_as(x)


@pytest.mark.parametrize("backend", ["jvp", "fd"])
def test_attention(points, backend):
    x, v, u = points
    attention = Attention()
    jacobian = jacobians(attention, x)
    operator = JacobianOperator(attention, x, backend)
    assert relative(operator.mv(v), (jacobian @ v[:, :, None]).squeeze(2)) < TOLERANCE[backend]
    assert relative(operator.rmv(u), (jacobian.mT @ u[:, :, None]).squeeze(2)) < 1e-12


def test_attention_kernels_are_restored(points):
    x, v, _ = points
    kernels = {
        SDPBackend.FLASH_ATTENTION: torch.backends.cuda.flash_sdp_enabled,
        SDPBackend.EFFICIENT_ATTENTION: torch.backends.cuda.mem_efficient_sdp_enabled,
        SDPBackend.MATH: torch.backends.cuda.math_sdp_enabled,
    }
    before = {kernel: enabled() for kernel, enabled in kernels.items()}
    JacobianOperator(Attention(), x).mv(v)
    assert {kernel: enabled() for kernel, enabled in kernels.items()} == before
    assert before[SDPBackend.FLASH_ATTENTION]


def test_score_difference_of_gaussians_with_diagonal_covariances():
    """``E_{x|c} norm(s_c - s)^2 = tr((S^-1 - S_c^-1)^2 S_c)``, as the sum over the axes of ``S_c^(1/2)``."""
    s = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    s_c = torch.tensor([0.1, 1.5, 1.0], dtype=torch.float64)
    difference = JacobianOperator(lambda x: x / s - x / s_c, torch.zeros(3, 3, dtype=torch.float64))
    expectation = difference.mv(s_c.sqrt().diag()).square().sum()
    assert float(expectation) == pytest.approx(float(((1 / s - 1 / s_c) ** 2 * s_c).sum()))
