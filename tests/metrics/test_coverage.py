"""Intervals hold the truth as often as they say: 1,000 simulated sets of each kind, between 93 and 97 %."""

import numpy as np
import pytest
from scipy import stats

from memdet.metrics import evaluate_scores, gain

SETS = 1_000


def covered(intervals, truth):
    return np.mean([interval.low <= truth <= interval.high for interval in intervals])


def sets(positives, negatives, size, shared, auroc, seed=2026):
    """Normal scores of a known AUROC; ``shared`` is the part of their variance that a family has in common."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(positives + negatives), size)
    labels = (clusters < positives).astype(int)
    shift = np.sqrt(2) * stats.norm.ppf(auroc)
    for _ in range(SETS):
        of_family = rng.normal(size=positives + negatives)[clusters]
        yield (
            np.sqrt(shared) * of_family + np.sqrt(1 - shared) * rng.normal(size=len(labels)) + shift * labels,
            labels,
            clusters,
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("positives", "negatives", "size", "shared", "auroc"),
    [
        (60, 60, 1, 0, 0.7),
        (60, 60, 1, 0, 0.9),
        (118, 120, 1, 0, 0.95),
        (30, 90, 1, 0, 0.8),
        (20, 20, 10, 0.7, 0.7),
        (20, 20, 10, 0.7, 0.9),
        (10, 60, 8, 0.7, 0.8),
    ],
)
def test_auroc(positives, negatives, size, shared, auroc):
    intervals = [evaluate_scores(*one, draws=1).auroc for one in sets(positives, negatives, size, shared, auroc)]
    assert 0.93 <= covered(intervals, auroc) <= 0.97


@pytest.mark.slow
def test_items_taken_as_independent_would_miss():
    intervals = [
        evaluate_scores(scores, labels, np.arange(len(labels)), draws=1).auroc
        for scores, labels, _ in sets(20, 20, 10, 0.7, 0.9)
    ]
    assert covered(intervals, 0.9) < 0.75


@pytest.mark.slow
@pytest.mark.parametrize("auroc", [0.5, 0.8])
def test_auroc_of_prompts_with_a_twin_of_the_other_label(auroc):
    rng = np.random.default_rng(2026)
    labels, clusters = np.repeat([1, 0], 60), np.tile(np.arange(60), 2)
    shift = np.sqrt(2) * stats.norm.ppf(auroc)
    intervals = []
    for _ in range(SETS):
        scores = np.sqrt(0.6) * rng.normal(size=60)[clusters] + np.sqrt(0.4) * rng.normal(size=120) + shift * labels
        intervals.append(evaluate_scores(scores, labels, clusters, draws=1).auroc)
    assert 0.93 <= covered(intervals, auroc) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("families", "size", "shared"), [(60, 1, 0), (20, 10, 0.7)])
def test_gain(families, size, shared):
    # The detector's scores are the control's and more; both AUROCs are known.
    intervals = []
    rng = np.random.default_rng(2027)
    for control, labels, clusters in sets(families, families, size, shared, 0.7):
        other = np.sqrt(shared) * rng.normal(size=2 * families)[clusters] + np.sqrt(1 - shared) * rng.normal(
            size=len(labels)
        )
        detector = control + other + 2 * labels
        intervals.append(gain(detector, control, labels, clusters))
    shift = np.sqrt(2) * stats.norm.ppf(0.7) + 2
    truth = stats.norm.cdf(shift / 2) - 0.7  # the sum has twice the variance, the difference of two four times
    assert 0.93 <= covered(intervals, truth) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("positives", "negatives", "size", "shared", "auroc"), [(60, 200, 1, 0, 0.95), (30, 30, 5, 0.5, 0.95)]
)
def test_tpr_at_1_fpr(positives, negatives, size, shared, auroc):
    made = list(sets(positives, negatives, size, shared, auroc))
    intervals = [evaluate_scores(*one, draws=200).tpr_at_1_fpr for one in made]
    # The truth is what tables of such sets show on the average. Among few negatives a threshold has few places to
    # stand, and coverage jumps with their number.
    assert 0.91 <= covered(intervals, np.mean([interval.value for interval in intervals])) <= 0.99
