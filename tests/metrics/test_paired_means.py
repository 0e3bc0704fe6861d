"""Differences of means on the same items: known values, and how often a true null is rejected."""

import numpy as np
import pytest

from memdet.metrics._paired_means import paired_difference


def test_no_difference_is_certain_not_to_be_one():
    found = paired_difference([0.2, 0.8], [0.2, 0.8], ["a", "b"])
    assert (found.interval.value, found.interval.low, found.interval.high, found.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize(("k", "p"), [(2, 0.5), (4, 0.125), (5, 0.0625)])
def test_few_clusters_that_agree_prove_no_more_than_a_sign_test(k, p):
    names = [f"c{index}" for index in range(k)]
    assert paired_difference(np.ones(k), np.zeros(k), names).p == pytest.approx(p)


def test_items_of_one_cluster_count_as_one():
    values = np.ones(40)
    assert paired_difference(values, 0 * values, ["a"] * 20 + ["b"] * 20).p == 0.5


def test_swapping_the_two_turns_the_sign_and_keeps_p():
    rng = np.random.default_rng(0)
    a, b = rng.random((30, 4)), rng.random((30, 4)) + 0.1
    names = [str(index) for index in range(30)]
    one, other = paired_difference(a, b, names), paired_difference(b, a, names)
    assert one.interval.value == -other.interval.value == pytest.approx((a - b).mean())
    assert one.p == other.p
    assert one.interval.low == pytest.approx(-other.interval.high)


def test_a_true_null_is_rejected_about_as_often_as_promised():
    rng, names = np.random.default_rng(1), [str(index) for index in range(40)]
    rejected = sum(
        paired_difference(rng.normal(size=40), np.zeros(40), names, draws=200, seed=trial).p < 0.05
        for trial in range(300)
    )
    assert 5 <= rejected <= 33  # 15 expected; the bootstrap of 40 is a little bold


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        paired_difference([1.0, 2.0], [1.0], ["a", "b"])
