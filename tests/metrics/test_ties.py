"""Groups of detectors: the rule by hand, and how often it errs in simulated tables."""

import os

import numpy as np
import pytest
from scipy import stats

from memdet.metrics import Ties, area_ties, auroc, evaluate_rates, holm, paired_tests, tie_groups

RATES = (0.01, 0.05, 0.1)
TABLES, DRAWS = int(os.environ.get("MEMDET_TABLES", 60)), 300  # docs/statistics.md has it for 500


def test_ties_by_hand():
    # Pairs 01, 02, 12: .01 is adjusted to .03, .02 to .04 and .2 stays.
    first, second = np.triu_indices(3, 1)
    ties = Ties.of_pairs([0.7, 0.9, 0.6], first, second, np.array([0.2, 0.02, 0.01]))
    assert ties.p == pytest.approx(np.array([[1, 0.2, 0.04], [0.2, 1, 0.03], [0.04, 0.03, 1]]))
    assert ties.apart.tolist() == [[False, False, True], [False, False, True], [True, True, False]]
    assert ties.groups.tolist() == [1, 1, 2]
    assert ties.tied_with(1).tolist() == [True, True, False]
    unknown = Ties.of_pairs([0.7, 0.9, 0.6], first, second, np.array([np.nan, np.nan, 0.04]))
    assert unknown.apart.tolist() == [[False, False, False], [False, False, True], [False, True, False]]


def test_ties_of_areas_are_the_paired_tests():
    rng = np.random.default_rng(31)
    labels, clusters = np.repeat([1, 0], 60), np.arange(120) // 2
    scores = rng.normal(size=(6, 120)) + np.linspace(0, 2.5, 6)[:, None] * labels
    ties, tests = area_ties(scores, labels, clusters), paired_tests(scores, labels, clusters)
    assert ties.values.tolist() == [auroc(row, labels) for row in scores]
    assert (ties.p[tests.first, tests.second] == holm(tests.p)).all()
    assert (ties.groups == tie_groups(ties.values, tests)).all()
    assert ties.groups.max() > 1


def at(scores, labels, clusters, fpr, **options):
    return evaluate_rates(scores, labels, clusters, [fpr], **options)[0].ties


def test_where_nothing_varies_the_test_of_rates_is_the_sign_test():
    labels = np.repeat([1, 0], [12, 20])
    perfect, inverse = labels * 1.0, 1.0 - labels
    assert at([perfect, inverse], labels, np.arange(32), 0.1, draws=50).p[0, 1] == 2.0**-11
    families = np.r_[np.arange(12) // 3, np.arange(20) + 4]  # four of the positives
    assert at([perfect, inverse], labels, families, 0.1, draws=50).p[0, 1] == 2.0**-3


def test_a_label_of_one_family_tells_nobody_apart():
    labels = np.repeat([1, 0], [12, 20])
    one_family = np.r_[np.zeros(12), np.arange(1, 21)]
    ties = at([labels, 1 - labels], labels, one_family, 0.1, draws=50)
    assert ties.values.tolist() == [1, 0]
    assert not ties.apart.any()


def test_the_statistic_of_rates_by_hand():
    # Negatives all lie below the thresholds, which hold in every draw: the paired difference is a mean of independent
    # positives, of which 40 are found by the first detector alone and 10 by the second alone.
    labels = np.repeat([1, 0], [100, 300])
    negatives = np.tile(np.linspace(0, 0.1, 300), (2, 1))
    found = np.zeros((2, 100))
    found[0, :70], found[1, 40:80] = 1, 1
    scores = np.hstack([np.where(found == 1, 2.0, -1.0), negatives])
    ties = at(scores, labels, np.arange(400), 0.01, draws=20_000)
    assert ties.values.tolist() == [0.7, 0.4]
    variance = (50 / 100 - 0.3**2) / 99 + 2 / 100**2
    assert ties.p[0, 1] == pytest.approx(2 * stats.t.sf(0.3 / np.sqrt(variance), 99), rel=0.15)


def test_clusters_count_and_not_items():
    # Ten copies of every item: what 20 families say is not told ten times.
    rng = np.random.default_rng(33)
    labels = np.repeat([1, 0], 20)
    scores = rng.normal(size=(2, 40)) + np.array([[1.8], [0.8]]) * labels
    once = at(scores, labels, np.arange(40), 0.1, draws=500)
    copied = at(np.repeat(scores, 10, axis=1), np.repeat(labels, 10), np.repeat(np.arange(40), 10), 0.1, draws=500)
    apart = at(np.repeat(scores, 10, axis=1), np.repeat(labels, 10), np.arange(400), 0.1, draws=500)
    assert copied.p[0, 1] == pytest.approx(once.p[0, 1], abs=0.05)
    assert apart.p[0, 1] < copied.p[0, 1] / 3


def tables(sizes, shared, shifts, tables=TABLES, seed=2028):
    """Normal scores of correlated detectors; ``sizes`` of the families of both labels, which share some variance."""
    rng = np.random.default_rng(seed)
    family = [np.repeat(np.arange(len(of_label)), of_label) for of_label in sizes]
    clusters = np.concatenate([family[0], family[1] + len(sizes[0])])
    labels = np.repeat([1, 0], [len(family[0]), len(family[1])])

    def noise():
        common = rng.normal(size=clusters.max() + 1)[clusters]
        return np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=len(labels))

    for _ in range(tables):
        of_all = noise()
        yield np.stack([(of_all + noise()) / np.sqrt(2) + shift * labels for shift in shifts]), labels, clusters


UNEQUAL = [30, 20, 10, *[1] * 60]


@pytest.mark.slow
@pytest.mark.parametrize("detectors", [2, 6])
@pytest.mark.parametrize(
    ("positives", "negatives", "shared"),
    [
        ([1] * 120, [1] * 120, 0),
        ([1] * 400, [1] * 120, 0),
        ([1] * 400, [1] * 400, 0),
        ([6] * 20, [6] * 20, 0.7),
        ([10] * 40, [10] * 40, 0.7),
        (UNEQUAL, UNEQUAL, 0.7),
    ],
    ids=["120+120", "400+120", "400+400", "20+20 families of 6", "40+40 families of 10", "unequal families"],
)
def test_equal_rates_are_told_apart_in_one_table_of_twenty_at_most(positives, negatives, shared, detectors, request):
    # Where n - 1 degrees of freedom are wrong in a tenth of the tables, so many of them that this would be seen.
    hard = detectors == 6 and len(negatives) == 120 and not shared
    wrong, made = np.zeros(len(RATES)), max(TABLES, 300) if hard else TABLES
    for one in tables((positives, negatives), shared, [2.5] * detectors, made):
        wrong += [rate.ties.apart.any() for rate in evaluate_rates(*one, RATES, draws=DRAWS)]
    print(f"\n{request.node.callspec.id}: wrong in {(100 * wrong / made).round(1).tolist()} % of the tables")
    assert (wrong <= made * 0.05 + 2 * np.sqrt(made * 0.05 * 0.95)).all()


@pytest.mark.slow
@pytest.mark.parametrize(("items", "fpr", "least"), [(100, 0.1, 0.95), (200, 0.05, 0.95), (200, 0.01, 0.3)])
def test_distant_rates_are_told_apart(items, fpr, least, request):
    # Five detectors that find .9 and five that find .3, among whose 45 pairs 25 differ.
    threshold = stats.norm.isf(fpr)
    shifts = [threshold + stats.norm.ppf(rate) for rate in [0.9] * 5 + [0.3] * 5]
    found = []
    for one in tables(([1] * items, [1] * items), 0, shifts, tables=50):
        found.append(at(*one, fpr, draws=DRAWS).apart[:5, 5:].mean())
    print(f"\n{request.node.callspec.id}: {100 * np.mean(found):.1f} % of the pairs are told apart")
    assert np.mean(found) >= least
