"""The kernel distance: a plain double loop, equal distributions, and its standard error."""

import numpy as np
import pytest

from memdet.metrics._kernel_distance import kernel_distance


def plain(x, y, of_x, of_y):
    def k(a, b):
        return (a @ b / len(a) + 1) ** 3

    def within(sample, names):
        found = [
            k(a, b)
            for a, own in zip(sample, names, strict=True)
            for b, other in zip(sample, names, strict=True)
            if own != other
        ]
        return np.mean(found)

    return within(x, of_x) + within(y, of_y) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_a_plain_double_loop_and_a_plain_jackknife():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(9, 4)), rng.normal(size=(7, 4)) + 0.5
    of_x, of_y = np.array(list("aabbbcddd")), np.array(list("xxyyyzz"))
    found = kernel_distance(x, y, of_x, of_y)
    assert found.value == pytest.approx(plain(x, y, of_x, of_y))
    variance = 0.0
    for names, kept in ((of_x, "x"), (of_y, "y")):
        left = np.array(
            [
                plain(x[of_x != name], y, of_x[of_x != name], of_y)
                if kept == "x"
                else plain(x, y[of_y != name], of_x, of_y[of_y != name])
                for name in np.unique(names)
            ]
        )
        variance += (len(left) - 1) / len(left) * np.square(left - left.mean()).sum()
    assert found.error == pytest.approx(variance**0.5)


def test_equal_distributions_are_within_their_standard_error_of_nothing():
    """Unbiased, and the error is neither far too small nor far too large: clusters of five that share a centre."""
    rng, scores = np.random.default_rng(1), []
    for _ in range(40):
        samples = [(rng.normal(size=(30, 1, 8)) + 0.5 * rng.normal(size=(30, 5, 8))).reshape(150, 8) for _ in "ab"]
        names = np.repeat(np.arange(30), 5)
        found = kernel_distance(*samples, names, names + 100)
        scores.append(found.value / found.error)
    assert abs(np.mean(scores)) < 3 / 40**0.5
    assert 0.5 < np.std(scores) < 1.5


def test_other_distributions_are_far_from_each_other():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(60, 8)), rng.normal(size=(60, 8)) + 1
    names = np.arange(60)
    found = kernel_distance(x, y, names, names + 100)
    assert found.value > 5 * found.error


def test_one_cluster_has_no_pairs():
    with pytest.raises(ValueError, match="one cluster"):
        kernel_distance(np.ones((3, 2)), np.ones((3, 2)), ["a"] * 3, ["b", "c", "d"])
