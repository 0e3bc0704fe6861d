"""Intervals and tests of significance."""

import numpy as np
import pytest
from scipy import stats

from memdet.metrics import (
    auroc,
    delong,
    evaluate_scores,
    gain,
    holm,
    paired_permutation,
    permutation_above_half,
)


def binormal(rng, n=60, shift=1.0):
    labels = np.r_[np.ones(n, int), np.zeros(n, int)]
    return rng.normal(size=2 * n) + shift * labels, labels


def width(interval):
    return interval.high - interval.low


def test_interval_covers_the_true_auroc():
    truth = stats.norm.cdf(1 / np.sqrt(2))
    hits = 0
    for simulation in range(200):
        scores, labels = binormal(np.random.default_rng(simulation))
        interval = evaluate_scores(scores, labels, np.arange(len(scores)), draws=300, seed=simulation).auroc
        hits += interval.low <= truth <= interval.high
    # 95 % of 200, four standard errors of a binomial each way
    assert 178 <= hits <= 200


def test_copies_inside_a_cluster_add_no_certainty():
    scores, labels = binormal(np.random.default_rng(0))
    once = evaluate_scores(scores, labels, np.arange(len(scores)))
    repeated = [np.repeat(a, 8) for a in (scores, labels, np.arange(len(scores)))]
    clustered = evaluate_scores(*repeated)
    blind = evaluate_scores(repeated[0], repeated[1], np.arange(len(repeated[0])))
    assert clustered.auroc.value == pytest.approx(once.auroc.value)
    assert (clustered.auroc.low, clustered.auroc.high) == pytest.approx((once.auroc.low, once.auroc.high))
    assert width(clustered.auroc) > 2 * width(blind.auroc)
    assert clustered.n_effective == once.n_effective == 60


def test_same_seed_gives_the_same_interval():
    scores, labels = binormal(np.random.default_rng(1))
    first, again, other = (evaluate_scores(scores, labels, np.arange(120), seed=seed).auroc for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_a_perfect_detector_has_no_empty_interval():
    labels = np.r_[np.ones(20, int), np.zeros(120, int)]
    result = evaluate_scores(labels.astype(float), labels, np.arange(140))
    # Clopper and Pearson for 20 of 20: the two-sided 95 % bound is .025 ** (1 / 20).
    assert result.auroc.low == pytest.approx(0.025 ** (1 / 20))
    assert result.tpr_at_1_fpr.low == pytest.approx(0.025 ** (1 / 20))
    assert result.auroc.high == result.tpr_at_1_fpr.high == 1.0


def test_few_negatives_do_not_resolve_one_percent():
    scores, labels = binormal(np.random.default_rng(2))
    assert np.isnan(evaluate_scores(scores, labels, np.arange(120)).tpr_at_1_fpr.value)


def test_gain_is_paired():
    scores, labels = binormal(np.random.default_rng(3))
    clusters = np.arange(len(scores))
    assert gain(scores, scores, labels, clusters) == gain(2 * scores, scores, labels, clusters)
    same = gain(scores, scores, labels, clusters)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    control = np.random.default_rng(4).normal(size=len(scores))
    difference = gain(scores, control, labels, clusters)
    assert difference.value == pytest.approx(auroc(scores, labels) - auroc(control, labels))
    assert difference.low < difference.value < difference.high


def naive_delong(a, b, labels):
    def kernel(x, y):
        return 1.0 if x > y else 0.5 if x == y else 0.0

    rows = {}
    for name, s in (("a", a), ("b", b)):
        matrix = np.array([[kernel(x, y) for y in s[labels == 0]] for x in s[labels == 1]])
        rows[name] = (matrix.mean(1), matrix.mean(0), matrix.mean())
    m, n = len(rows["a"][0]), len(rows["a"][1])
    cov = np.cov(rows["a"][0], rows["b"][0]) / m + np.cov(rows["a"][1], rows["b"][1]) / n
    z = (rows["a"][2] - rows["b"][2]) / np.sqrt(cov[0, 0] + cov[1, 1] - 2 * cov[0, 1])
    return rows["a"][2] - rows["b"][2], 2 * stats.norm.sf(abs(z))


@pytest.mark.parametrize("tied", [False, True])
def test_delong_equals_the_double_loop(tied):
    rng = np.random.default_rng(5)
    a, labels = binormal(rng)
    b = a + rng.normal(size=len(a))
    if tied:
        a, b = a.round(), b.round()
    assert delong(a, b, labels) == pytest.approx(naive_delong(a, b, labels))


def test_delong_falls_back_where_both_are_perfect():
    labels = np.array([0] * 10 + [1] * 10)
    a = labels + np.linspace(0, 0.1, 20)
    assert delong(a, a * 2, labels) == (0.0, 1.0)


def test_permutation_tests_know_signal_from_noise():
    rng = np.random.default_rng(6)
    scores, labels = binormal(rng, shift=1.5)
    noise = rng.normal(size=len(scores))
    clusters = np.arange(len(scores))
    assert permutation_above_half(scores, labels, clusters, draws=500) < 0.01
    assert permutation_above_half(noise, labels, clusters, draws=500) > 0.01
    assert paired_permutation(scores, noise, labels, draws=500) < 0.01
    assert paired_permutation(scores, 3 * scores, labels, draws=500) == 1.0


def test_permutation_refuses_mixed_clusters():
    with pytest.raises(ValueError, match="both labels"):
        permutation_above_half([1.0, 2.0], [0, 1], ["a", "a"])


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
