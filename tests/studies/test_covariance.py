"""The study of the Hessian norm and the data's covariance."""

from pathlib import Path

import numpy as np
import pytest
import torch

from studies.covariance import closed_form

PAGE = Path(__file__).resolve().parents[2] / "docs" / "covariance.md"


def test_scores_and_hessians_are_those_of_the_densities():
    """Against autograd on torch's own Gaussians, in a rotated basis."""
    torch.manual_seed(0)
    d, (mean, data, narrow) = 4, (torch.randn(4), torch.rand(4) + 0.5, torch.rand(4) * 0.3)
    rotation, _ = torch.linalg.qr(torch.randn(d, d, dtype=torch.float64))
    x = torch.randn(d, dtype=torch.float64)

    def score(z, centre, variance):
        level = closed_form.ALPHA**2 * variance.double() + closed_form.SIGMA**2
        covariance = rotation @ torch.diag(level) @ rotation.T
        gaussian = torch.distributions.MultivariateNormal(rotation @ (closed_form.ALPHA * centre.double()), covariance)
        return torch.func.grad(gaussian.log_prob)(z)

    def difference(z):
        return score(z, mean, narrow) - score(z, torch.zeros(d), data)

    z = rotation @ x
    found, hessian = closed_form.scores(
        x.numpy(), mean.double().numpy()[None], narrow.double().numpy(), data.double().numpy()
    )
    np.testing.assert_allclose(found[0], (rotation.T @ difference(z)).numpy(), rtol=1e-9)
    matrix = rotation.T @ torch.func.jacrev(difference)(z) @ rotation
    np.testing.assert_allclose(np.diag(hessian), matrix.numpy(), atol=1e-12)


def test_flat_data_rank_alike_with_and_without_the_hessian():
    row = closed_form.measure(64, 0.0)
    assert row.directions == pytest.approx(64)
    assert row.moved == pytest.approx(closed_form.TARGET, abs=1e-5)
    assert row.whitened == row.moved
    assert row.narrowed > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("decay", closed_form.DECAYS)
def test_the_page_shows_what_is_measured(decay):
    row = closed_form.measure(64, decay)
    cells = [f"{value:.3f}".lstrip("0") for value in (row.moved, row.narrowed, row.whitened)]
    assert f"| 64 | {decay:g} | {row.directions:.1f} | {' | '.join(cells)} |" in PAGE.read_text()
