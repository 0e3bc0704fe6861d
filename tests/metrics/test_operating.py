"""Several detectors at several rates agree with the metrics of one, and ties mean what they say."""

import numpy as np
import pytest

from memdet.metrics import compare_detectors, evaluate_scores, tpr_at_fpr

RATES = (0.01, 0.1)


@pytest.fixture
def items():
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], [80, 120])
    good, weak = (rng.normal(size=200) + shift * labels for shift in (2.0, 0.2))
    clusters = np.array([f"c{index // 2}" for index in range(200)])
    return np.stack([good, good**3, weak]), labels, clusters


def test_intervals_are_those_of_one_detector(items):
    scores, labels, clusters = items
    compared = compare_detectors(scores, labels, clusters, RATES, draws=300)
    for index, row in enumerate(scores):
        alone = evaluate_scores(row, labels, clusters, draws=300)
        assert compared.tpr[0][index] == alone.tpr_at_1_fpr
        assert compared.tpr[1][index].value == tpr_at_fpr(row, labels, 0.1)


def test_equal_rankings_are_tied_and_distant_ones_are_not(items):
    compared = compare_detectors(*items, RATES, draws=300)
    assert compared.tied.shape == (3, 3, 3)
    assert (compared.tied == compared.tied.transpose(0, 2, 1)).all()
    assert compared.tied[:, 0, 1].all()
    assert not compared.tied[:, 0, 2].any()


def test_what_is_not_resolvable_ties_everybody(items):
    scores, labels, clusters = (array[..., :120] for array in items)  # 40 negatives
    compared = compare_detectors(scores, labels, clusters, RATES, draws=50)
    assert [interval.value for interval in compared.tpr[0]] == pytest.approx([float("nan")] * 3, nan_ok=True)
    assert compared.tied[1].all()
    assert not compared.tied[2, 0, 2]


def test_no_detectors(items):
    _, labels, clusters = items
    compared = compare_detectors(np.empty((0, 200)), labels, clusters, RATES)
    assert compared.tpr == [[], []]
    assert compared.tied.shape == (3, 0, 0)
