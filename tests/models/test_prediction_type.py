"""Conversions between what networks predict and the score."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memdet.models import PREDICTION_TYPES, NoiseSchedule
from memdet.models.prediction_type import eps_from_output, output_from_eps
from tests.helpers.problems import make_mixture

numbers = st.floats(-10, 10, allow_subnormal=False)
angles = st.floats(0.01, 1.56)


@given(numbers, numbers, st.floats(0.01, 10), st.floats(0.01, 10), st.sampled_from(PREDICTION_TYPES))
def test_round_trip(eps, x, alpha, sigma, kind):
    eps, x = torch.tensor([eps], dtype=torch.float64), torch.tensor([x], dtype=torch.float64)
    if kind == "v":  # defined where alpha^2 + sigma^2 = 1
        alpha, sigma = alpha / (alpha**2 + sigma**2) ** 0.5, sigma / (alpha**2 + sigma**2) ** 0.5
    output = output_from_eps(eps, x, alpha, sigma, kind)
    size = max(1.0, abs(float(output)))
    back = eps_from_output(output, x, alpha, sigma, kind)
    torch.testing.assert_close(back, eps, rtol=1e-9, atol=1e-9 * size * max(1.0, alpha / sigma))


@given(numbers, numbers, angles, st.sampled_from(PREDICTION_TYPES))
def test_output_is_its_definition(x0, eps, angle, kind):
    """Where clean sample and noise are known, every network output is known."""
    x0, eps, angle = (torch.tensor([value], dtype=torch.float64) for value in (x0, eps, angle))
    alpha, sigma = float(angle.cos()), float(angle.sin())
    x = alpha * x0 + sigma * eps
    expected = {"eps": eps, "x0": x0, "v": alpha * eps - sigma * x0, "flow": eps - x0}[kind]
    torch.testing.assert_close(output_from_eps(eps, x, alpha, sigma, kind), expected, rtol=1e-9, atol=1e-8 / alpha)


@pytest.mark.parametrize("t", [20, 249, 700, 981])
@pytest.mark.parametrize("kind", PREDICTION_TYPES)
def test_score_from_the_output_by_the_formula(kind, t):
    """Each formula written out; ``v`` taken for ``x0``, a known mistake, would fail."""
    options = {"schedule": NoiseSchedule.rectified_flow()} if kind == "flow" else {}
    model = make_mixture("fewer components than dimensions", prediction_type=kind, **options)
    x = torch.randn(3, 1, 2, 3, generator=torch.Generator().manual_seed(t), dtype=torch.float64)
    output = model.predict(x, t, model.embed_null())
    alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
    time = (t + 1) / 1_000
    expected = {
        "eps": lambda: -output / sigma,
        "x0": lambda: (alpha * output - x) / sigma**2,
        "v": lambda: -x - alpha / sigma * output,
        "flow": lambda: -(x + (1 - time) * output) / time,
    }[kind]()
    torch.testing.assert_close(model.score(x, t, model.embed_null()), expected, rtol=1e-9, atol=1e-9)
