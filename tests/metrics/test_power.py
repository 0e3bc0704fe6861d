"""What a sample set can show, held against simulations of the case for which the formula is exact."""

import numpy as np
import pytest

from memdet.errors import UserError
from memdet.metrics import smallest_auroc, smallest_difference

DRAWS = 4_000


def areas(positive, negative):
    """AUROCs of continuous scores, a row each."""
    scores = np.concatenate([positive, negative], axis=1)
    ranks = scores.argsort(axis=1).argsort(axis=1) + 1
    m, n = positive.shape[1], negative.shape[1]
    return (ranks[:, :m].sum(axis=1) - m * (m + 1) / 2) / (m * n)


def exponential(rng, uniform, area):
    """Positive scores whose AUROC against Exp(1) is ``area``."""
    return -np.log(uniform) * area / (1 - area)


@pytest.mark.parametrize(("m", "n"), [(30, 30), (20, 120)])
def test_the_smallest_auroc_is_found_four_times_of_five(m, n):
    rng = np.random.default_rng(0)
    area = smallest_auroc(m, n)
    found = areas(exponential(rng, rng.uniform(size=(DRAWS, m)), area), rng.exponential(size=(DRAWS, n)))
    null = np.sqrt((m + n + 1) / (12 * m * n))
    assert found.mean() == pytest.approx(area, abs=0.005)
    assert (np.abs(found - 0.5) > 1.959964 * null).mean() == pytest.approx(0.8, abs=0.03)


def test_the_smallest_difference_is_found_four_times_of_five():
    rng = np.random.default_rng(1)
    m, n, base = 80, 80, 0.75

    def pair(difference):
        """Two detectors that share most of what moves their scores."""
        shared, own = rng.normal(size=(DRAWS, m + n)), rng.normal(size=(2, DRAWS, m + n))
        uniform = [_phi(0.8 * shared + 0.6 * own[k]) for k in range(2)]
        return [
            areas(exponential(rng, uniform[k][:, :m], area), -np.log(uniform[k][:, m:]))
            for k, area in enumerate((base, base + difference))
        ]

    correlation = np.corrcoef(*pair(0.05))[0, 1]
    assert 0.3 < correlation < 0.8
    difference = smallest_difference(m, n, auroc=base, correlation=correlation)
    first, second = pair(difference)
    found = second - first
    assert found.mean() == pytest.approx(difference, abs=0.005)
    assert (np.abs(found) > 1.959964 * found.std()).mean() == pytest.approx(0.8, abs=0.03)


def _phi(x):
    from scipy.special import ndtr

    return ndtr(x)


def test_more_items_show_smaller_differences():
    sizes = [20, 40, 80, 160, 320]
    for found in ([smallest_auroc(n, n) for n in sizes], [smallest_difference(n, n) for n in sizes]):
        assert all(before > after for before, after in zip(found, found[1:], strict=False))
    assert smallest_difference(100, 100, correlation=0.8) < smallest_difference(100, 100, correlation=0.0)
    # With many items the root-n law holds.
    assert smallest_difference(40_000, 40_000) / smallest_difference(10_000, 10_000) == pytest.approx(0.5, abs=0.01)


def test_what_no_set_of_a_size_can_show_is_none():
    assert smallest_auroc(2, 2) is None
    assert smallest_difference(3, 3, auroc=0.9) is None


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: smallest_auroc(0, 5), "some of both"),
        (lambda: smallest_auroc(5, 5, level=0), "`level`"),
        (lambda: smallest_auroc(5, 5, power=1.5), "`power`"),
        (lambda: smallest_difference(5, 5, auroc=1.0), "`auroc`"),
        (lambda: smallest_difference(5, 5, correlation=2), "`correlation`"),
    ],
)
def test_what_is_no_size_is_refused(call, words):
    with pytest.raises(UserError, match=words):
        call()
