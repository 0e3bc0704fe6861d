"""Intervals."""

import numpy as np
import pytest
from scipy import stats

from memdet.metrics import auroc, delong, effective_number, evaluate_scores, gain, realised_fpr, tpr_at_fpr
from memdet.metrics._auroc import best_of, best_rates, ranking, roc_counts, weighted_auroc
from memdet.metrics._bootstrap import resample
from memdet.metrics._placements import contributions, layout, variance


def binormal(rng, n=60, shift=1.0):
    labels = np.r_[np.ones(n, int), np.zeros(n, int)]
    return rng.normal(size=2 * n) + shift * labels, labels


def width(interval):
    return interval.high - interval.low


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


def test_clusters_are_drawn_within_their_label():
    labels = np.array([1, 1, 1, 0, 0, 0])
    clusters = np.array(["a", "a", "b", "c", "d", "d"])
    weights = np.concatenate(list(resample(labels, clusters, 200, seed=0)))
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 4] == weights[:, 5]).all()
    assert (weights[:, 0] + weights[:, 2] == 2).all()
    assert (weights[:, 3] + weights[:, 4] == 2).all()
    assert {0, 1, 2} == set(weights[:, 0])


def test_a_cluster_with_both_labels_is_drawn_whole():
    labels = np.array([1, 1, 0, 0, 0])
    clusters = np.array(["a", "b", "a", "a", "c"])
    weights = np.concatenate(list(resample(labels, clusters, 400, seed=0)))
    assert len(weights) == 400
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, 0] == weights[:, 3]).all()
    assert (weights[:, 0] + weights[:, 1] + weights[:, 4] == 3).all()
    # Both labels are in every draw: c alone, and b alone, are drawn again.
    assert ((weights @ labels > 0) & (weights @ (1 - labels) > 0)).all()


def test_the_tpr_interval_comes_from_resampled_rates():
    rng = np.random.default_rng(8)
    labels = np.r_[np.ones(40, int), np.zeros(360, int)]
    scores, clusters = rng.normal(size=400) + 2 * labels, np.arange(400) // 2
    drawn = np.concatenate(list(resample(labels, clusters, 60, seed=9))).astype(int)
    rates = [tpr_at_fpr(np.repeat(scores, w), np.repeat(labels, w)) for w in drawn]
    result = evaluate_scores(scores, labels, clusters, draws=60, seed=9, level=0.8)
    value = tpr_at_fpr(scores, labels)
    centre = (20 * value + 2) / 24  # 20 families of positives
    reach = stats.t.ppf(0.9, 19) * np.std(rates) / (centre * (1 - centre))
    odds = centre / (1 - centre) * np.exp([-reach, reach])
    around = np.clip(odds / (1 + odds), min(rates), max(rates))
    percentiles = np.quantile(rates, [0.1, 0.9])
    expected = min(around[0], percentiles[0]), max(around[1], percentiles[1])
    assert result.tpr_at_1_fpr.value == value
    assert (result.tpr_at_1_fpr.low, result.tpr_at_1_fpr.high) == pytest.approx(expected)
    assert result.realised_fpr == realised_fpr(scores, labels) > 0


def test_a_tpr_interval_holds_the_tpr():
    # The best negative is above all positives but for one draw in many.
    labels = np.r_[np.ones(30, int), np.zeros(100, int)]
    scores = np.r_[np.full(30, 2.0), np.full(2, 3.0), np.zeros(98)]
    result = evaluate_scores(scores, labels, np.arange(130)).tpr_at_1_fpr
    assert result.value == result.low == 0
    assert result.high > 0.5


def kernel(x, y):
    return 1.0 if x > y else 0.5 if x == y else 0.0


def naive_variance(scores, labels, clusters):
    """Obuchowski (1997), her sums one by one."""
    positives, negatives = scores[labels == 1], scores[labels == 0]
    m, n = len(positives), len(negatives)
    area = np.mean([[kernel(x, y) for y in negatives] for x in positives])
    names = sorted(set(clusters))
    of = {name: [0.0, 0.0, 0, 0] for name in names}
    for score, label, name in zip(scores, labels, clusters, strict=True):
        against = negatives if label else positives
        placed = np.mean([kernel(score, y) if label else kernel(y, score) for y in against])
        of[name][1 - label] += placed
        of[name][3 - label] += 1
    with_positive = sum(v[2] > 0 for v in of.values())
    with_negative = sum(v[3] > 0 for v in of.values())
    total = len(names)
    s10 = with_positive / ((with_positive - 1) * m) * sum((v[0] - v[2] * area) ** 2 for v in of.values())
    s01 = with_negative / ((with_negative - 1) * n) * sum((v[1] - v[3] * area) ** 2 for v in of.values())
    s11 = total / (total - 1) * sum((v[0] - v[2] * area) * (v[1] - v[3] * area) for v in of.values())
    return area, s10 / m + s01 / n + 2 * s11 / (m * n)


@pytest.mark.parametrize("tied", [False, True])
def test_the_variance_is_obuchowskis(tied):
    rng = np.random.default_rng(11)
    labels, clusters = rng.permutation(np.repeat([1, 0], [30, 40])), rng.integers(0, 12, 70)
    scores = rng.normal(size=70) + labels + clusters / 6
    if tied:
        scores = scores.round()
    where = layout(labels, clusters)
    found = contributions(scores[None], where)
    area, expected = naive_variance(scores, labels, clusters)
    assert found.areas[0] == pytest.approx(area)
    assert variance(found, where)[0][0] == pytest.approx(expected)
    assert expected > 0


def test_the_variance_is_the_spread_of_a_cluster_bootstrap():
    # Many clusters, so that k - 1 for k matters little; clusters with both labels among them.
    rng = np.random.default_rng(12)
    clusters = np.arange(600) // 3
    labels = np.where(clusters < 80, 1, np.where(clusters < 160, 0, rng.integers(0, 2, 600)))
    scores = rng.normal(size=200)[clusters] + rng.normal(size=600) + labels
    where = layout(labels, clusters)
    spread = float(variance(contributions(scores[None], where), where)[0][0])
    drawn = np.concatenate(list(resample(labels, clusters, 4_000, seed=0)))
    assert weighted_auroc(scores, labels, drawn).std() == pytest.approx(np.sqrt(spread), rel=0.05)


def test_an_auroc_interval_by_hand():
    # Placements of the positives 1, 1, .5 and of the negatives 1, .5 + 1 / 3: DeLong's variance, t, and the logit.
    result = evaluate_scores([4.0, 3.0, 1.5, 1.0, 2.0], [1, 1, 1, 0, 0], range(5)).auroc
    of_positive, of_negative = np.var([1, 1, 0.5], ddof=1) / 3, np.var([1, 2 / 3], ddof=1) / 2
    freedom = (of_positive + of_negative) ** 2 / (of_positive**2 / 2 + of_negative**2 / 1)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(of_positive + of_negative) / (5 / 6 * 1 / 6)
    odds = 5 * np.exp([-reach, reach])
    assert result.value == pytest.approx(5 / 6)
    assert (result.low, result.high) == pytest.approx(tuple(odds / (1 + odds)))


def test_one_family_on_a_side_says_little():
    labels = np.r_[np.ones(50, int), np.zeros(50, int)]
    scores = np.random.default_rng(13).normal(size=100) + 2 * labels
    result = evaluate_scores(scores, labels, np.r_[np.zeros(50), np.arange(1, 51)]).auroc
    assert result.low < 0.1 < 0.9 < result.value < 0.98 < result.high
    assert np.isnan(gain(scores, -scores, labels, np.r_[np.zeros(50), np.arange(1, 51)]).low)


def test_same_seed_gives_the_same_interval():
    scores, labels = binormal(np.random.default_rng(1), n=110)
    items = np.arange(len(scores))
    first, again, other = (evaluate_scores(scores, labels, items, seed=seed).tpr_at_1_fpr for seed in (3, 3, 4))
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
    if "draws" not in changed:
        with pytest.raises(ValueError, match=words):
            gain(control_scores=[1.0, 2.0, 3.0, 4.0], **given)


def test_effective_number_by_hand():
    assert effective_number(["a"] * 6 + ["b", "c"]) == pytest.approx(64 / 38)
    assert effective_number(range(7)) == 7
    assert effective_number([]) == 0


def test_a_gain_is_significant_where_its_interval_leaves_out_0():
    rng = np.random.default_rng(14)
    clusters = np.arange(120) // 3
    scores, labels = binormal(rng)
    significant = 0
    for noise in np.linspace(0.3, 3, 20):
        control = scores + noise * rng.normal(size=120)
        interval, (difference, p) = (
            gain(scores, control, labels, clusters),
            delong(scores, control, labels, clusters=clusters),
        )
        assert interval.value == pytest.approx(difference)
        assert (interval.low > 0 or interval.high < 0) is (p < 0.05)
        significant += p < 0.05
    assert 0 < significant < 20


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


@pytest.mark.parametrize("mixed", [False, True])
def test_draws_do_not_depend_on_how_many_are_held_at_once(monkeypatch, mixed):
    rng = np.random.default_rng(3)
    labels = np.r_[np.ones(6, int), np.zeros(30, int)]
    clusters = rng.integers(0, 9, 36) if mixed else np.arange(36) // 2
    drawn = np.concatenate(list(resample(labels, clusters, 120, seed=1)))
    monkeypatch.setattr("memdet.metrics._bootstrap.WEIGHTS_HELD", 100)  # two draws
    blocks = list(resample(labels, clusters, 120, seed=1))
    assert {len(block) for block in blocks} == {2}
    assert (np.concatenate(blocks) == drawn).all()


@pytest.mark.parametrize("levels", [2, 5, 1_000_000])
def test_the_highest_scores_are_enough_for_the_best_threshold(levels):
    rng = np.random.default_rng(levels)
    labels = (rng.random(400) < 0.4).astype(int)
    weights = np.concatenate(list(resample(labels, np.arange(400) // 2, 50, seed=0)))
    for shift in (-3, 0, 1, 50):
        scores = np.floor(levels * rng.random(400)) + shift * labels
        for fpr in (0.01, 0.3, 0.99):
            expected = best_of(*roc_counts(scores, labels, weights), fpr)[0]
            assert (best_rates(ranking(scores, labels), weights, fpr) == expected).all()
