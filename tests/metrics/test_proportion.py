"""The share of successes with Wilson's interval, against SciPy's."""

import pytest
from scipy.stats import binomtest

from memdet.metrics import share_interval


@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (0, 8), (3, 8), (8, 8), (47, 500)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_the_interval_is_that_of_wilson(successes, trials, level):
    found = share_interval(successes, trials, level=level)
    expected = binomtest(successes, trials).proportion_ci(level, method="wilson")
    assert found.value == successes / trials
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize("wrong", [(0, 0), (-1, 3), (4, 3)])
def test_no_share_of_nothing(wrong):
    with pytest.raises(ValueError, match="trials"):
        share_interval(*wrong)


def test_a_level_is_a_share():
    with pytest.raises(ValueError, match="level"):
        share_interval(1, 2, level=95)
