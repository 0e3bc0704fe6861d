"""Intervals and tests of significance."""

import numpy as np
import pytest
from scipy import stats

from memdet.metrics import (
    auroc,
    delong,
    effective_number,
    evaluate_scores,
    gain,
    holm,
    paired_permutation,
    permutation_above_half,
)
from memdet.metrics._bootstrap import resample


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


def test_correlated_clusters_widen_the_interval():
    rng = np.random.default_rng(7)
    clusters = np.repeat(np.arange(40), 10)
    labels = (clusters < 20).astype(int)
    scores = rng.normal(size=40)[clusters] + 0.3 * rng.normal(size=400) + labels
    clustered = evaluate_scores(scores, labels, clusters)
    blind = evaluate_scores(scores, labels, np.arange(400))
    assert width(clustered.auroc) > 2 * width(blind.auroc)
    assert width(clustered.tpr_at_1_fpr) > 1.5 * width(blind.tpr_at_1_fpr)
    assert (clustered.n_clusters, clustered.n_effective, blind.n_effective) == (40, 20, 200)


def test_effective_number_is_that_of_the_smaller_side():
    # Positives: families of 6, 1 and 1, hence 8^2 / 38; negatives: five singles.
    labels = np.r_[np.ones(8, int), np.zeros(5, int)]
    clusters = np.r_[np.zeros(6, int), 1, 2, 3:8]
    result = evaluate_scores(np.arange(13.0), labels, clusters, draws=10)
    assert (result.n_positive, result.n_negative, result.n_clusters) == (8, 5, 8)
    assert result.n_effective == pytest.approx(64 / 38)


def test_a_cluster_with_both_labels_is_drawn_in_parts():
    labels = np.array([1, 1, 0, 0, 0])
    clusters = np.array(["a", "b", "a", "a", "c"])
    weights = np.concatenate(list(resample(labels, clusters, 200, seed=0)))
    assert (weights[:, 2] == weights[:, 3]).all()
    assert (weights[:, 0] != weights[:, 2]).any()
    assert (weights[:, 0] + weights[:, 1] == 2).all()
    assert (weights[:, 2] + weights[:, 4] == 2).all()


def test_an_interval_is_the_percentiles_of_resampled_aurocs():
    scores, labels = binormal(np.random.default_rng(8), n=25)
    clusters = np.arange(50) // 2
    drawn = np.concatenate(list(resample(labels, clusters, 60, seed=9))).astype(int)
    areas = [auroc(np.repeat(scores, w), np.repeat(labels, w)) for w in drawn]
    result = evaluate_scores(scores, labels, clusters, draws=60, seed=9, level=0.8).auroc
    assert (result.low, result.high) == pytest.approx(tuple(np.quantile(areas, [0.1, 0.9])))


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


def test_rounding_does_not_hide_a_degenerate_bootstrap():
    for n in range(100, 130):
        labels = np.r_[np.ones(n, int), np.zeros(2 * n + 1, int)]
        scores = np.random.default_rng(n).random(len(labels)) + 2 * labels
        result = evaluate_scores(scores, labels, np.arange(len(labels)), draws=50).auroc
        assert result.low == pytest.approx(0.025 ** (1 / n))


def test_a_worthless_detector_has_no_empty_interval():
    labels = np.r_[np.ones(20, int), np.zeros(120, int)]
    result = evaluate_scores(-labels.astype(float), labels, np.arange(140))
    assert (result.auroc.low, result.tpr_at_1_fpr.low) == (0.0, 0.0)
    assert result.auroc.high == result.tpr_at_1_fpr.high == pytest.approx(1 - 0.025 ** (1 / 20))


def test_families_weaken_a_perfect_score():
    labels = np.r_[np.ones(20, int), np.zeros(120, int)]
    clusters = np.r_[np.repeat(np.arange(4), 5), 10:130]
    result = evaluate_scores(labels.astype(float), labels, clusters)
    assert result.auroc.low == result.tpr_at_1_fpr.low == pytest.approx(0.025 ** (1 / 4))


def test_a_missing_class_leaves_all_undefined():
    result = evaluate_scores([1.0, 2.0], [1, 1], [0, 1])
    assert np.isnan([result.auroc.low, result.auroc.value, result.tpr_at_1_fpr.value]).all()
    assert result.n_effective == 0
    assert np.isnan(gain([1.0, 2.0], [2.0, 1.0], [1, 1], [0, 1]).value)
    assert np.isnan(delong([1.0, 2.0], [2.0, 1.0], [1, 1])).all()
    assert np.isnan(paired_permutation([1.0, 2.0], [2.0, 1.0], [1, 1]))
    assert np.isnan(permutation_above_half([1.0, 2.0], [1, 1], [0, 1]))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"clusters": [0, 1]}, "clusters need shape"),
        ({"clusters": [0, 1, 2, np.nan]}, "no cluster"),
        ({"clusters": ["a", "b", None, None]}, "no cluster"),
        ({"draws": 0}, "draws"),
        ({"level": 95}, "level"),
        ({"scores": [1.0, 2.0, 3.0, np.inf]}, "not finite"),
    ],
)
def test_bad_input_is_named(changed, words):
    given = {"scores": [1.0, 2.0, 3.0, 4.0], "labels": [0, 1, 0, 1], "clusters": [0, 1, 2, 3]} | changed
    with pytest.raises(ValueError, match=words):
        evaluate_scores(**given)
    with pytest.raises(ValueError, match=words):
        gain(control_scores=[1.0, 2.0, 3.0, 4.0], **given)


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
    constant = np.zeros(20)
    assert delong(a, constant, labels) == (0.5, paired_permutation(a, constant, labels))


def test_delong_of_a_single_positive_is_the_permutation():
    rng = np.random.default_rng(10)
    a, b, labels = rng.normal(size=12), rng.normal(size=12), np.r_[1, np.zeros(11, int)]
    assert delong(a, b, labels) == (auroc(a, labels) - auroc(b, labels), paired_permutation(a, b, labels))


def test_permutation_of_clusters_counts_families_not_items():
    # Two families of either label, perfectly ranked: 1 of the 6 ways to label them reaches that.
    clusters = np.repeat(np.arange(4), 25)
    labels = (clusters >= 2).astype(int)
    p = permutation_above_half(clusters.astype(float), labels, clusters, draws=4_000)
    assert p == pytest.approx(1 / 6, abs=4 * np.sqrt(5 / 36 / 4_000))


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
    assert holm([0.01, np.nan, 0.03]) == pytest.approx([0.02, np.nan, 0.03], nan_ok=True)
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("p_values", [[1.1], [-0.1], [[0.1, 0.2]], 0.5])
def test_holm_refuses_what_are_not_p_values(p_values):
    with pytest.raises(ValueError, match="p_values"):
        holm(p_values)


def test_a_wider_null_makes_p_larger():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    scores = labels * 0.6 + rng.normal(size=60)
    p = [permutation_above_half(scores, labels, np.arange(60), spread=spread, draws=2_000) for spread in (1, 1.5, 3)]
    assert p[0] < p[1] < p[2] < 0.5
    # for one item each side of .5 the null is symmetric, and a normal law says how p grows with its width
    z = stats.norm.isf(p[0])
    assert p[1] == pytest.approx(stats.norm.sf(z / 1.5), abs=0.03)
    with pytest.raises(ValueError, match="spread is at least 1"):
        permutation_above_half(scores, labels, np.arange(60), spread=0.5)


def test_effective_number_of_clusters():
    assert effective_number(["a", "b", "c"]) == 3
    assert effective_number(["a"] * 5) == 1
    assert effective_number([0] * 148 + list(range(1, 353))) == pytest.approx(500**2 / (148**2 + 352))
    assert effective_number([]) == 0
