"""Tests of significance: pairs of detectors, one against chance, several at once."""

from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from memdet.metrics import (
    PairedTests,
    auroc,
    delong,
    gain,
    holm,
    paired_permutation,
    paired_tests,
    permutation_above_half,
    tie_groups,
)


def binormal(rng, n=60, shift=1.0):
    labels = np.r_[np.ones(n, int), np.zeros(n, int)]
    return rng.normal(size=2 * n) + shift * labels, labels


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


def test_delong_of_two_perfect_detectors_is_no_difference():
    labels = np.repeat([0, 1], 10)
    a = labels + np.linspace(0, 0.1, 20)
    assert delong(a, a * 2, labels) == (0.0, 1.0)


def test_where_nothing_varies_p_is_that_of_a_sign_test():
    clusters = np.repeat(np.arange(20), 3)
    labels = (clusters >= 14).astype(int)
    perfect, constant = labels + np.arange(60) / 100, np.zeros(60)
    expected = stats.binomtest(6, 6, 0.5).pvalue
    assert delong(perfect, constant, labels, clusters=clusters) == (0.5, pytest.approx(expected))
    assert delong(constant, perfect, labels, clusters=clusters) == (-0.5, pytest.approx(expected))


def test_delong_of_a_single_positive_is_the_permutation():
    rng = np.random.default_rng(10)
    a, b, labels = rng.normal(size=12), rng.normal(size=12), np.r_[1, np.zeros(11, int)]
    assert delong(a, b, labels) == (auroc(a, labels) - auroc(b, labels), paired_permutation(a, b, labels))


def naive_permutation(a, b, labels, clusters, draws, seed):
    rank_a, rank_b = stats.rankdata(a), stats.rankdata(b)
    observed = abs(auroc(rank_a, labels) - auroc(rank_b, labels))
    names, rng, reached = sorted(set(clusters)), np.random.default_rng(seed), 1
    for _ in range(draws):
        swapped = dict(zip(names, rng.random(len(names)) < 0.5, strict=True))
        swap = np.array([swapped[name] for name in clusters])
        difference = auroc(np.where(swap, rank_b, rank_a), labels) - auroc(np.where(swap, rank_a, rank_b), labels)
        reached += abs(difference) >= observed - 1e-12
    return reached / (draws + 1)


@pytest.mark.parametrize("tied", [False, True])
def test_permutation_equals_the_loop(tied):
    rng = np.random.default_rng(15)
    a, labels = binormal(rng, n=20)
    b, clusters = a + 2 * rng.normal(size=40), rng.integers(0, 15, 40)
    if tied:
        a, b = a.round(), b.round()
    p = paired_permutation(a, b, labels, clusters=clusters, draws=200, seed=3)
    assert p == naive_permutation(a, b, labels, clusters, 200, 3)
    assert 0.01 < p < 0.99
    assert paired_permutation(a, b, labels, draws=200) == naive_permutation(a, b, labels, np.arange(40), 200, 0)


def test_copies_of_items_change_no_clustered_test():
    rng = np.random.default_rng(16)
    a, labels = binormal(rng)
    b = a + rng.normal(size=len(a))
    clusters = np.arange(len(a))
    once = delong(a, b, labels, clusters=clusters)
    copied = [np.repeat(x, 5) for x in (a, b, labels, clusters)]
    assert delong(*copied[:3], clusters=copied[3]) == pytest.approx(once)
    assert delong(*copied[:3])[1] < once[1] / 10


def families(rng, positives, negatives, size):
    """Two equally good detectors, whose errors families share."""
    clusters = np.repeat(np.arange(positives + negatives), size)
    labels = (clusters < positives).astype(int)
    common = 0.7 * rng.normal(size=positives + negatives)[clusters] + 1.2 * labels
    a, b = (
        common + 0.9 * rng.normal(size=positives + negatives)[clusters] + 0.5 * rng.normal(size=len(labels))
        for _ in range(2)
    )
    return a, b, labels, clusters


@pytest.mark.slow
@pytest.mark.parametrize(("positives", "negatives", "size"), [(20, 20, 8), (10, 30, 6), (60, 60, 1)])
def test_equal_detectors_differ_in_five_of_a_hundred_sets(positives, negatives, size):
    rng = np.random.default_rng(17)
    clustered, blind = [], []
    for _ in range(1_000):
        a, b, labels, clusters = families(rng, positives, negatives, size)
        clustered.append(delong(a, b, labels, clusters=clusters)[1])
        blind.append(delong(a, b, labels)[1])
    # Four standard errors of a binomial; items taken as independent mislead in more than a third of the sets.
    assert np.mean(np.array(clustered) <= 0.05) == pytest.approx(0.05, abs=0.0276)
    assert bool(np.mean(np.array(blind) <= 0.05) > 0.33) is (size > 1)


@pytest.mark.slow
def test_exchanged_families_keep_their_level():
    rng = np.random.default_rng(18)
    p_values = []
    for _ in range(400):
        a, b, labels, clusters = families(rng, 20, 20, 8)
        p_values.append(paired_permutation(a, b, labels, clusters=clusters, draws=199))
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.0436)


def test_all_pairs_are_delongs(monkeypatch):
    rng = np.random.default_rng(19)
    base, labels = binormal(rng)
    scores = base + np.array([[0.0], [1.0], [2.0], [4.0]]) * rng.normal(size=(4, 120))
    clusters = np.arange(120) // 2
    tests = paired_tests(scores, labels, clusters)
    assert list(zip(tests.first, tests.second, strict=True)) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for i, (a, b) in enumerate(zip(tests.first, tests.second, strict=True)):
        assert (tests.difference[i], tests.p[i]) == delong(scores[a], scores[b], labels, clusters=clusters)
        expected = gain(scores[a], scores[b], labels, clusters)
        assert (tests.difference[i], tests.low[i], tests.high[i]) == (expected.value, expected.low, expected.high)
    monkeypatch.setattr("memdet.metrics._pairs.ENTRIES_AT_ONCE", 240)  # two pairs at once
    for whole, in_parts in zip(astuple(tests), astuple(paired_tests(scores, labels, clusters)), strict=True):
        assert (whole == in_parts).all()
    one = paired_tests(scores, labels, clusters, against=2)
    assert one.first.tolist() == [0, 1, 3]
    assert one.difference == pytest.approx([tests.difference[1], tests.difference[3], -tests.difference[5]])
    assert one.p == pytest.approx(tests.p[[1, 3, 5]])


def test_one_family_on_a_side_is_tested_by_exchanges():
    rng = np.random.default_rng(20)
    scores, labels = rng.normal(size=(2, 30)), np.r_[np.ones(5, int), np.zeros(25, int)]
    clusters = np.r_[np.zeros(5), np.arange(1, 26)]
    expected = paired_permutation(*scores, labels, clusters=clusters)
    assert paired_tests(scores, labels, clusters).p == [expected]
    assert delong(*scores, labels, clusters=clusters)[1] == expected


def test_a_missing_class_is_undefined():
    assert np.isnan(delong([1.0, 2.0], [2.0, 1.0], [1, 1])).all()
    assert np.isnan(paired_permutation([1.0, 2.0], [2.0, 1.0], [1, 1]))
    assert np.isnan(permutation_above_half([1.0, 2.0], [1, 1], [0, 1]))
    with pytest.raises(ValueError, match="both labels"):
        paired_tests([[1.0, 2.0]], [1, 1], [0, 1])


def made_tests(p):
    first, second = np.triu_indices(4, 1)
    nothing = np.full(6, np.nan)
    return PairedTests(first, second, nothing, nothing, nothing, np.array(p))


def test_tie_groups_by_hand():
    # Pairs 01, 02, 03, 12, 13, 23 of AUROCs that fall: 0 is tied with 1, and 2 with 3, though 1 is with 2 too.
    assert tie_groups([0.9, 0.8, 0.7, 0.6], made_tests([0.5, 0.001, 0.001, 0.5, 0.001, 0.5])).tolist() == [1, 1, 2, 2]
    assert tie_groups([0.6, 0.9, 0.7, 0.8], made_tests([1, 1, 1, 1, 1, 1])).tolist() == [1, 1, 1, 1]
    assert tie_groups([0.6, 0.9, 0.7, 0.8], made_tests([0, 0, 0, 0, 0, 0])).tolist() == [4, 1, 3, 2]
    # .02 alone is below .05, of six tests it is not.
    assert tie_groups([0.9, 0.8, 0.7, 0.6], made_tests([0.02, 1, 1, 1, 1, 1])).tolist() == [1, 1, 1, 1]


def test_tie_groups_of_equal_detectors_are_one_in_nineteen_of_twenty_tables():
    rng = np.random.default_rng(21)
    several = 0
    for _ in range(200):
        base, labels = binormal(rng, n=40)
        scores = base + rng.normal(size=(8, 80))
        areas = [auroc(row, labels) for row in scores]
        several += tie_groups(areas, paired_tests(scores, labels, np.arange(80))).max() > 1
    assert several <= 200 * 0.05 + 4 * np.sqrt(200 * 0.05 * 0.95)


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
