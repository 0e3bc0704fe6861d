"""Several detectors at several rates agree with the metrics of one, and ties mean what they say."""

import numpy as np
import pytest

from memdet.metrics import area_ties, evaluate_rates, evaluate_scores, tpr_at_fpr

RATES = (0.01, 0.1)


@pytest.fixture
def items():
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], [80, 120])
    good, weak = (rng.normal(size=200) + shift * labels for shift in (3.5, 0.2))
    clusters = np.array([f"c{index // 2}" for index in range(200)])
    return np.stack([good, good**3, weak]), labels, clusters


def test_intervals_are_those_of_one_detector(items):
    scores, labels, clusters = items
    low, high = evaluate_rates(scores, labels, clusters, RATES, draws=300)
    assert (low.fpr, high.fpr) == RATES
    for index, row in enumerate(scores):
        alone = evaluate_scores(row, labels, clusters, draws=300)
        assert low.tpr[index] == alone.tpr_at_1_fpr
        assert high.tpr[index].value == tpr_at_fpr(row, labels, 0.1)
        assert high.ties.values[index] == high.tpr[index].value


def test_equal_rankings_are_tied_and_distant_ones_are_not(items):
    for ties in (area_ties(*items), *(at.ties for at in evaluate_rates(*items, RATES, draws=300))):
        assert ties.apart.shape == ties.p.shape == (3, 3)
        assert (ties.p == ties.p.T).all()
        assert ties.tied_with(0).tolist() == [True, True, False]
        assert ties.groups.tolist() == [1, 1, 2]
        assert (ties.p[0, 1], ties.p[0, 0]) == (1, 1)


def test_what_is_not_resolvable_ties_everybody(items):
    scores, labels, clusters = (array[..., :120] for array in items)  # 40 negatives
    low, high = evaluate_rates(scores, labels, clusters, RATES, draws=50)
    assert [interval.value for interval in low.tpr] == pytest.approx([float("nan")] * 3, nan_ok=True)
    assert not low.ties.apart.any()
    assert low.ties.groups.tolist() == [1, 1, 1]
    assert np.isnan(low.ties.p[0, 1])
    assert high.ties.apart[0, 2]


def test_without_one_label_everybody_is_tied(items):
    scores, _, clusters = items
    for ties in (
        area_ties(scores, np.ones(200), clusters),
        evaluate_rates(scores, np.ones(200), clusters, [0.1])[0].ties,
    ):
        assert np.isnan(ties.values).all()
        assert not ties.apart.any()


def test_no_detectors(items):
    _, labels, clusters = items
    for at in evaluate_rates(np.empty((0, 200)), labels, clusters, RATES):
        assert at.tpr == []
        assert at.ties.apart.shape == (0, 0)
    assert area_ties(np.empty((0, 200)), labels, clusters).groups.tolist() == []
