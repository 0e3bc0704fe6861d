"""What an operator does beyond single products: both branches at once, one graph, self-checks, calibration."""

import math

import pytest
import torch

from memdet.curvature import JacobianOperator, Known, calibrate, fastest_operator, measured_step
from tests.helpers.products import TOLERANCE, Count, jacobians, relative


def test_transposed_products_share_one_graph(network, points):
    x, v, u = points
    count = Count(network)
    operator = JacobianOperator(count.f, x, "vjp", count=count, check=False)
    first, second = operator.rmv(u), operator.rmv(v)
    assert count.evaluations == 1
    assert count.told == {"forwards": 1, "jvps": 0, "vjps": 2}
    transposed = jacobians(network, x).mT
    assert relative(first, (transposed @ u[:, :, None]).squeeze(2)) < 1e-12
    assert relative(second, (transposed @ v[:, :, None]).squeeze(2)) < 1e-12
    torch.testing.assert_close(operator.value, network(x))


@pytest.fixture(scope="module")
def branches(network):
    """Two networks in one batch: the first half of the rows is conditional, the second half null."""

    def f(x):
        first, second = x.chunk(2)
        return torch.cat([network(first), 0.5 * network(second + 1)])

    return f


@pytest.mark.parametrize("backend", ["jvp", "fd", "fd-one-sided"])
def test_difference_of_two_branches_in_one_batch(network, branches, points, backend):
    x, v, u = points
    count = Count(branches)
    operator = JacobianOperator(count.f, x, backend, pair=True, count=count)
    expected = jacobians(network, x) - 0.5 * jacobians(network, x + 1)
    assert relative(operator.mv(v), (expected @ v[:, :, None]).squeeze(2)) < TOLERANCE[backend]
    cost = {"jvp": {"jvps": 2}, "fd": {"forwards": 4}, "fd-one-sided": {"forwards": 4}}[backend]
    assert count.told == {"forwards": 0, "jvps": 0, "vjps": 0} | cost
    assert relative(operator.rmv(u), (expected.mT @ u[:, :, None]).squeeze(2)) < 1e-12
    torch.testing.assert_close(operator.value, network(x) - 0.5 * network(x + 1))


def test_closed_form_product_is_the_one_given(network, points):
    x, v, _ = points
    count = Count(network)
    with pytest.raises(ValueError, match="closed-form.* disagree"):
        JacobianOperator(network, x, "closed-form", known=Known(exact=lambda w: 3 * w))
    operator = JacobianOperator(count.f, x, "closed-form", known=Known(exact=lambda w: 3 * w), count=count, check=False)
    assert torch.equal(operator.mv(v), 3 * v)
    assert count.told == {"forwards": 0, "jvps": 1, "vjps": 0}
    with pytest.raises(ValueError, match="needs the exact product"):
        JacobianOperator(network, x, "closed-form")


@pytest.mark.parametrize("backend", ["jvp", "vjp", "fd", "fd-one-sided"])
def test_self_check_passes_and_is_not_counted(network, points, backend):
    x, v, _ = points
    count = Count(network)
    operator = JacobianOperator(count.f, x, backend, count=count)
    assert count.told == {"forwards": 0, "jvps": 0, "vjps": 0}
    if backend != "vjp":
        assert relative(operator.mv(v), (jacobians(network, x) @ v[:, :, None]).squeeze(2)) < 5e-3


def test_the_fastest_operator_is_calibrated_and_nobody_pays_for_that(network, branches, points):
    x, v, _ = points
    count = Count(branches)
    operator, found = fastest_operator(count.f, x, pair=True, tolerance=1.0, count=count)
    assert count.told == {"forwards": 0, "jvps": 0, "vjps": 0}
    assert operator.backend == found.backend
    assert operator.step == (found.step if found.backend == "fd" else None)
    expected = jacobians(network, x) - 0.5 * jacobians(network, x + 1)
    assert relative(operator.mv(v), (expected @ v[:, :, None]).squeeze(2)) < TOLERANCE[found.backend]


class WrongDerivative(torch.autograd.Function):
    """The sine, with a forward derivative that has the wrong sign."""

    @staticmethod
    def forward(x):
        return x.sin()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.saved_tensors[0].cos()

    @staticmethod
    def jvp(ctx, tangent):
        return -tangent * ctx.saved_tensors[0].cos()


def test_self_check_finds_derivatives_that_disagree(points):
    with pytest.raises(ValueError, match=r"J v \(jvp\) and J\^T u disagree at item \d: relative error"):
        JacobianOperator(WrongDerivative.apply, points[0])


@pytest.mark.parametrize("backend", ["jvp", "fd"])
def test_self_check_finds_dropout(network, points, backend):
    dropout = torch.nn.Dropout(0.5)
    with pytest.raises(ValueError, match="is dropout left on"):
        JacobianOperator(lambda x: network(dropout(x)), points[0], backend)
    JacobianOperator(lambda x: network(dropout.eval()(x)), points[0], backend)


def test_self_check_names_the_item_that_is_not_finite(network, points):
    x = points[0].clone()
    x[2, 3] = torch.nan
    with pytest.raises(ValueError, match="the function is not finite for 1 of 4 items, first item 2"):
        JacobianOperator(network, x)


@pytest.mark.slow
def test_compiled_product(network, points):
    """Checked against the eager one by the operator itself; here against the dense Jacobian."""
    x, v, _ = points
    operator = JacobianOperator(network, x, compile=True)
    assert relative(operator.mv(v), (jacobians(network, x) @ v[:, :, None]).squeeze(2)) < 1e-10


def test_calibration_leaves_out_what_is_not_exact_enough(network, points):
    x = points[0].float()

    def rough(z):
        """Rounded to about three digits: differences are worthless, the derivative is not."""
        smooth = network(z.double()).float()
        return smooth + ((smooth * 300).round() / 300 - smooth).detach()

    calibration = calibrate(rough, x, tolerance=1e-3)
    assert calibration.backend == "jvp"
    assert calibration.errors["jvp"] == 0
    assert calibration.errors["fd-one-sided"] > 1e-3
    assert set(calibration.seconds) == {"jvp", "fd", "fd-one-sided"}
    assert str(calibration).startswith("jvp, the fastest product within 1e-03: jvp ")
    assert fastest_operator(rough, x)[0].backend == "jvp"


def test_calibration_takes_the_fastest_that_is(network, points):
    calibration = calibrate(network, points[0], tolerance=1.0)
    assert calibration.seconds[calibration.backend] == min(calibration.seconds.values())
    assert max(calibration.errors.values()) < 1e-3


@pytest.mark.parametrize("level", [1e-13, 1e-10, 1e-7])
def test_measured_step_follows_the_noise(level):
    """Around 1 the third derivative of the sine is -cos(1), so the step that balances it is known."""
    x = torch.ones(2, 4_000, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)

    def noisy(z):
        return z.sin() + level * torch.randn(z.shape, generator=generator, dtype=torch.float64)

    best = (level / (8**0.5 * math.cos(1) / 6)) ** (1 / 3)
    assert measured_step(noisy, x, torch.ones_like(x)) == pytest.approx(best, rel=0.2)
