"""Thresholds from reference scores: what they promise holds in simulations with known answers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from memdet.metrics import at_least_as_high, conformal_threshold, one_of_each

SETS = 4_000


def thresholds(reference, fpr):
    return [conformal_threshold(scores, fpr) for scores in reference]


@pytest.mark.slow
@pytest.mark.parametrize(("n", "fpr"), [(99, 0.01), (199, 0.05), (40, 0.1)])
def test_the_realised_rate_has_the_stated_mean_and_interval(n, fpr):
    """Normal scores, where the realised rate of a threshold is known exactly."""
    found = thresholds(np.random.default_rng(0).normal(size=(SETS, n)), fpr)
    realised = stats.norm.sf([threshold.value for threshold in found])
    interval = found[0].fpr
    assert interval.value <= fpr
    assert realised.mean() == pytest.approx(interval.value, rel=0.06)
    inside = ((interval.low <= realised) & (realised <= interval.high)).mean()
    assert inside == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / SETS))


@pytest.mark.slow
def test_the_interval_does_not_depend_on_the_distribution():
    rng = np.random.default_rng(1)
    for law in (stats.cauchy, stats.lognorm(2.0)):
        found = thresholds(law.rvs(size=(SETS, 60), random_state=rng), 0.1)
        realised = law.sf([threshold.value for threshold in found])
        assert ((found[0].fpr.low <= realised) & (realised <= found[0].fpr.high)).mean() == pytest.approx(
            0.95, abs=0.015
        )


@pytest.mark.slow
def test_ties_make_the_realised_rate_lower_never_higher():
    found = thresholds(np.random.default_rng(2).integers(0, 5, size=(SETS, 99)), 0.3)
    realised = np.asarray([(4 - threshold.value) / 5 for threshold in found])
    assert realised.mean() <= 0.3


def families(rng, sets, clusters, size):
    """Scores whose variance lies mostly between families of near-duplicates."""
    between = rng.normal(size=(sets, clusters, 1)) * math.sqrt(0.95)
    return between + rng.normal(size=(sets, clusters, size)) * math.sqrt(0.05)


@pytest.mark.slow
def test_one_of_a_family_keeps_the_coverage_that_near_duplicates_destroy():
    scores = families(np.random.default_rng(3), SETS, 40, 5).reshape(SETS, 200)
    names = np.repeat(np.arange(40), 5)

    def coverage(kept):
        found = thresholds(scores[:, kept], 0.1)
        realised = stats.norm.sf([threshold.value for threshold in found])
        return ((found[0].fpr.low <= realised) & (realised <= found[0].fpr.high)).mean()

    assert coverage(np.arange(200)) < 0.8
    assert coverage(one_of_each(names)) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(("fpr", "needed"), [(0.5, 1), (0.1, 9), (0.05, 19), (0.01, 99), (0.001, 999), (0.03, 33)])
def test_how_many_reference_scores_resolve_a_rate(fpr, needed):
    short, enough = (conformal_threshold(np.arange(n), fpr) for n in (needed - 1, needed))
    assert short.n_needed == enough.n_needed == needed
    assert math.isnan(short.value)
    assert math.isnan(short.fpr.high)
    assert enough.value == needed - 1  # the largest


@pytest.mark.parametrize("n", range(1, 400, 7))
def test_hundredths_are_not_lost_to_rounding(n):
    """``.07 * 100`` is 7.000000000000001 and ``.29 * 100`` is 28.999999999999996."""
    for hundredths in (1, 7, 29, 57):
        k = hundredths * (n + 1) // 100
        found = conformal_threshold(np.arange(n), hundredths / 100)
        assert math.isnan(found.value) if k == 0 else found.value == n - k


@given(
    st.lists(st.integers(-20, 20), min_size=1, max_size=60),
    st.lists(st.integers(-20, 20), max_size=30),
    st.integers(1, 99),
)
def test_above_the_threshold_is_a_small_conformal_p_value(reference, scores, hundredths):
    found = conformal_threshold(reference, hundredths / 100)
    counts = at_least_as_high(scores, reference)
    assert counts.tolist() == [sum(r >= s for r in reference) for s in scores]
    small = [100 * (1 + count) <= hundredths * (1 + len(reference)) for count in counts]
    assert small == [score > found.value for score in scores]


def test_one_of_each_is_seeded_and_takes_every_member_at_times():
    names = ["a", "b", "a", "a", "b", "c"]
    draws = [one_of_each(names, seed=seed).tolist() for seed in range(60)]
    assert all(sorted(names[i] for i in draw) == ["a", "b", "c"] for draw in draws)
    assert {index for draw in draws for index in draw} == set(range(6))
    assert one_of_each(names, seed=5).tolist() == draws[5]


@pytest.mark.parametrize("scores", [[1.0, math.nan], [math.inf], [[1.0]]])
def test_what_is_no_list_of_finite_scores_is_refused(scores):
    with pytest.raises(ValueError, match=r"finite|shape"):
        conformal_threshold(scores, 0.1)
    with pytest.raises(ValueError, match=r"finite|shape"):
        at_least_as_high([0.0], scores)


@pytest.mark.parametrize(("fpr", "level"), [(0.0, 0.95), (1.0, 0.95), (0.1, 1.0)])
def test_shares_outside_their_range_are_refused(fpr, level):
    with pytest.raises(ValueError, match="share in"):
        conformal_threshold([1.0, 2.0], fpr, level=level)
