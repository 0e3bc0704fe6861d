"""AUROC and TPR at FPR against scikit-learn and brute force."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from memdet.metrics import auroc, realised_fpr, tpr_at_fpr
from memdet.metrics._auroc import weighted_auroc, weighted_tpr


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
    assert weighted_tpr(scores, labels, weights[None].astype(float), 0.3)[0] == pytest.approx(
        brute_force_tpr(repeated, repeated_labels, 0.3)
    )


def test_missing_class_is_undefined():
    assert math.isnan(auroc([1.0, 2.0], [1, 1]))
    assert math.isnan(tpr_at_fpr([1.0, 2.0], [1, 1]))


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
