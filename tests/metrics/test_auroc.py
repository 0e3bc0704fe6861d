"""AUROC and TPR at FPR against scikit-learn and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from memdet.metrics import auroc, realised_fpr, tpr_at_fpr
from memdet.metrics._auroc import best_of, roc_counts, weighted_auroc


@st.composite
def scored(draw):
    n = draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = rng.permutation(np.r_[0, 1, rng.integers(0, 2, n - 2)])
    scores = rng.integers(0, 4, n).astype(float) if draw(st.booleans()) else rng.normal(size=n)
    return scores, labels


def brute_force_tpr(scores, labels, fpr):
    best = 0.0
    for threshold in [*np.unique(scores), np.inf]:
        flagged = scores >= threshold
        if flagged[labels == 0].mean() <= fpr + 1e-12:
            best = max(best, flagged[labels == 1].mean())
    return best


@given(scored())
def test_auroc_equals_scikit_learn(data):
    scores, labels = data
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@given(scored())
def test_auroc_is_not_flipped_and_ignores_monotone_maps(data):
    scores, labels = data
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-12)
    assert auroc(np.exp(scores) * 1e6, labels) == pytest.approx(auroc(scores, labels), abs=1e-12)


def test_scores_outside_the_unit_interval_are_not_saturated():
    assert auroc([1e9, 2e9, 3e9, 4e9], [0, 1, 0, 1]) == 0.75


@given(scored(), st.sampled_from([0.1, 0.2, 0.5]))
def test_tpr_equals_brute_force(data, fpr):
    scores, labels = data
    negatives = (labels == 0).sum()
    if 1 / negatives > fpr:
        assert math.isnan(tpr_at_fpr(scores, labels, fpr))
    else:
        assert tpr_at_fpr(scores, labels, fpr) == pytest.approx(brute_force_tpr(scores, labels, fpr))
        assert realised_fpr(scores, labels, fpr) <= fpr


@given(scored(), st.sampled_from([0.1, 0.2, 0.5]))
def test_operating_point_is_one_of_scikit_learn(data, fpr):
    scores, labels = data
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    if 1 / (labels == 0).sum() <= fpr:
        best = true[false <= fpr + 1e-12].max()
        assert tpr_at_fpr(scores, labels, fpr) == pytest.approx(best)
        assert realised_fpr(scores, labels, fpr) == pytest.approx(false[true == best].min())


@given(scored())
def test_swapped_labels_give_the_complement(data):
    scores, labels = data
    assert auroc(scores, 1 - labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-12)


@given(st.integers(1, 120), st.integers(1, 120), st.integers(0, 2**32 - 1))
def test_separated_classes_give_exactly_one_and_zero(positives, negatives, seed):
    labels = np.r_[np.ones(positives, int), np.zeros(negatives, int)]
    scores = np.random.default_rng(seed).random(len(labels)) + 2 * labels
    assert auroc(scores, labels) == 1.0
    assert auroc(-scores, labels) == 0.0


def test_a_threshold_above_all_scores_flags_nobody():
    # One of 100 negatives leads and 1 % is allowed, yet flagging it gains no positive.
    scores, labels = np.r_[9.0, np.zeros(104)], np.r_[np.zeros(100), np.ones(5)]
    assert tpr_at_fpr(scores, labels) == 0.0
    assert realised_fpr(scores, labels) == 0.0


def test_a_rate_with_rounding_error_admits_what_it_says():
    scores, labels = np.arange(20.0), np.r_[np.zeros(9), np.ones(10), 0]
    assert 0.3 - 0.2 < 0.1
    assert tpr_at_fpr(scores, labels, 0.3 - 0.2) == tpr_at_fpr(scores, labels, 0.1) == 1.0
    assert realised_fpr(scores, labels, 0.3 - 0.2) == 0.1


@pytest.mark.parametrize(("negatives", "resolvable"), [(99, False), (100, True)])
def test_one_percent_needs_a_hundred_negatives(negatives, resolvable):
    scores, labels = np.arange(negatives + 5.0), np.r_[np.zeros(negatives), np.ones(5)]
    assert math.isnan(tpr_at_fpr(scores, labels)) is not resolvable
    assert math.isnan(realised_fpr(scores, labels)) is not resolvable


def test_tpr_does_not_take_the_nearest_false_positive_rate():
    # 100 negatives, two of them above every positive: 1 % FPR flags one negative and no positive.
    scores = np.r_[np.full(2, 9.0), np.zeros(98), np.ones(50)]
    labels = np.r_[np.zeros(100), np.ones(50)]
    assert tpr_at_fpr(scores, labels) == 0.0
    assert tpr_at_fpr(scores, labels, 0.02) == 1.0


@given(scored(), st.integers(0, 2**32 - 1))
def test_weights_count_as_repetitions(data, seed):
    scores, labels = data
    weights = np.random.default_rng(seed).integers(0, 4, len(scores))
    weights[[np.argmax(labels == 0), np.argmax(labels == 1)]] += 1
    repeated, repeated_labels = np.repeat(scores, weights), np.repeat(labels, weights)
    assert weighted_auroc(scores, labels, weights[None].astype(float))[0] == pytest.approx(
        auroc(repeated, repeated_labels)
    )
    rate, _ = best_of(*roc_counts(scores, labels, weights[None].astype(float)), 0.3)
    assert rate[0] == pytest.approx(brute_force_tpr(repeated, repeated_labels, 0.3))


def test_missing_class_is_undefined():
    assert math.isnan(auroc([1.0, 2.0], [1, 1]))
    assert math.isnan(tpr_at_fpr([1.0, 2.0], [1, 1]))
    assert math.isnan(realised_fpr([1.0, 2.0], [1, 1]))
    assert math.isnan(auroc([], []))


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1.0, math.nan], [0, 1], "not finite"),
        ([1.0, 2.0], [0, 2], "0 or 1"),
        ([1.0], [0, 1], "shape"),
        ([[1.0, 2.0]], [[0, 1]], "shape"),
    ],
)
def test_bad_input_is_named(scores, labels, words):
    with pytest.raises(ValueError, match=words):
        auroc(scores, labels)


@pytest.mark.parametrize("fpr", [0.0, 1.0, -0.1, 5, math.nan])
def test_a_rate_outside_its_range_is_named(fpr):
    with pytest.raises(ValueError, match="fpr"):
        tpr_at_fpr([1.0, 2.0], [0, 1], fpr)
