"""AUROC against the measured extraction rate, and the rate at which it reaches .75."""

import numpy as np
import pytest
from scipy import special
from sklearn.isotonic import isotonic_regression

from memdet.metrics import auroc, psychometric_curve
from memdet.metrics._psychometric import _by_rate, _ends

OTHERS = 120
DOSES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)  # mean extraction rates


def made(rng, slope, *, of_dose=60, others=OTHERS, draws=0, moved=0.0):
    """Scores whose AUROC at a rate x is the logistic function of ``slope * x``: logarithms of exponential numbers.

    Of two of these, shifted by d, the shifted one is the larger with the odds e^d.
    """
    means = np.repeat(DOSES, of_dose)
    rates = np.append(np.zeros(others), rng.binomial(16, means) / 16)
    labels = np.repeat([0, 1], [others, len(means)])
    strata = np.append(np.full(others, -1.0), means)
    scores = np.log(rng.exponential(size=len(labels))) + slope * rates * labels
    by_seed = scores[:, None] + rates[:, None] * labels[:, None] * rng.normal(scale=moved, size=draws)
    return (by_seed.mean(axis=1) if draws else scores), labels, rates, strata, (by_seed if draws else None)


def curve_of(scores, labels, rates, strata=None, by_seed=None, draws=200, **options):
    clusters = np.arange(len(labels))
    return psychometric_curve(scores, labels, rates, clusters, strata=strata, by_seed=by_seed, draws=draws, **options)


def crossing_of(slope):
    return special.logit(0.75) / slope


def test_curve_is_the_isotonic_regression_of_placements():
    scores, labels, rates, strata, _ = made(np.random.default_rng(0), 2.0)
    found = curve_of(np.round(scores), labels, rates, strata)  # with ties
    memorized = labels == 1
    others = np.round(scores[~memorized])
    placed = [auroc([score, *others], [1, *np.zeros(OTHERS)]) for score in np.round(scores[memorized])]
    distinct, counts = np.unique(rates[memorized], return_counts=True)
    means = [np.mean(np.array(placed)[rates[memorized] == rate]) for rate in distinct]
    assert found.rates.tolist() == distinct.tolist()
    assert found.items.tolist() == counts.tolist()
    assert found.auroc == pytest.approx(isotonic_regression(means, sample_weight=counts))
    assert found.auroc @ counts / counts.sum() == pytest.approx(auroc(np.round(scores), labels))
    assert np.interp(found.crossing.value, found.rates, found.auroc) == pytest.approx(0.75)


@pytest.mark.parametrize("slope", [1.6, 3.0, 8.0])
def test_crossing_is_near_that_of_the_closed_form(slope):
    found = curve_of(*made(np.random.default_rng(1), slope, of_dose=1_500, others=5_000), draws=1).crossing
    assert found.value == pytest.approx(crossing_of(slope), abs=0.04)


def share_covered(intervals, slope):
    return np.mean([interval.low <= crossing_of(slope) <= interval.high for interval in intervals])


@pytest.mark.slow
@pytest.mark.parametrize("slope", [2.2, 6.0])
def test_interval_covers(slope):
    """The ends lie at rates that were measured, so that it covers more often than 95 % where these are few."""
    rng = np.random.default_rng(7)
    intervals = [curve_of(*made(rng, slope), draws=150).crossing for _ in range(40)]
    assert share_covered(intervals, slope) >= 0.93
    assert np.median([interval.high - interval.low for interval in intervals]) < 0.6


@pytest.mark.slow
def test_interval_holds_draws():
    """Four draws, each of which moves the slope for the whole set by two thirds of it."""
    rng = np.random.default_rng(7)
    sets = [made(rng, 3.0, draws=4, moved=2.0) for _ in range(30)]
    assert share_covered([curve_of(*one, draws=100).crossing for one in sets], 3.0) >= 0.9
    assert share_covered([curve_of(*one[:4], draws=100).crossing for one in sets], 3.0) < 0.85


def test_one_at_chance_never_reaches():
    found = curve_of(*made(np.random.default_rng(2), 0.0)).crossing
    assert (found.value, found.high) == (np.inf, np.inf)


def test_one_that_comes_near_has_an_open_end():
    found = curve_of(*made(np.random.default_rng(0), 1.0)).crossing  # .731 at a rate of 1
    assert 0 < found.low <= 1
    assert found.high == np.inf


def test_a_perfect_one_is_there_already():
    _, labels, rates, strata, _ = made(np.random.default_rng(4), 0.0)
    found = curve_of(labels * 1.0, labels, rates, strata)
    assert found.auroc.tolist() == [1.0] * len(found.rates)
    assert (found.crossing.value, found.crossing.low, found.crossing.high) == (-np.inf,) * 3


def test_one_that_gives_all_one_score_never_reaches():
    _, labels, rates, strata, _ = made(np.random.default_rng(5), 0.0)
    found = curve_of(np.zeros(len(labels)), labels, rates, strata)
    assert set(found.auroc) == {0.5}
    assert (found.crossing.low, found.crossing.high) == (np.inf, np.inf)


def test_what_was_not_measured_is_within_the_interval():
    """Seen at a rate of 1, not at 0, and nothing between."""
    rates = np.repeat([0.0, 0.0, 1.0], 40)
    labels = np.repeat([0, 1, 1], 40)
    scores = np.concatenate([np.arange(40.0), np.arange(40.0), 100 + np.arange(40.0)])
    found = curve_of(scores, labels, rates).crossing
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_few_items_prove_nothing():
    """12 that are all above the others may be of an AUROC of .75, and 13 not; 2 below them of one above it."""
    others = np.arange(-40.0, 0.0)

    def found(rates, scores):
        labels = np.repeat([0, 1], [len(others), len(rates)])
        return curve_of([*others, *scores], labels, [*np.zeros(len(others)), *rates]).crossing

    assert found(np.repeat([0.0, 0.5], 12), np.ones(24)).high == 0.5
    assert found(np.repeat([0.0, 0.5], 13), np.ones(26)).high == -np.inf
    assert found(np.repeat([0.0, 0.5], [20, 2]), np.full(22, -50.0)).low == 0.0
    assert found(np.repeat([0.0, 0.5], [20, 3]), np.full(23, -50.0)).low == np.inf
    for n, high in ((12, 1.0), (13, 0.5)):  # however many there are at a rate of 0, which are not above the others
        rates, scores = np.repeat([[0.0, 0.5, 1.0], [-20.5, 1.0, 1.0]], [40, n, 30], axis=1)
        assert found(rates, scores).high == high
    others = np.arange(-12.0, 0.0)
    assert (found(np.repeat([0.0, 0.5], 20), np.ones(40)).low, found([0.0, 0.5] * 20, np.ones(40)).high) == (
        -np.inf,
        np.inf,
    )


def test_families_count_once():
    """A twin of each item adds nothing: the interval is no narrower."""
    rng = np.random.default_rng(6)
    once = made(rng, 2.2)[:4]
    twice = [np.repeat(part, 2) for part in once]
    of_twins = psychometric_curve(*twice[:3], np.repeat(np.arange(len(once[0])), 2), strata=twice[3], draws=400)
    of_items = curve_of(*once, draws=400)
    assert of_twins.crossing.value == pytest.approx(of_items.crossing.value)
    grid = 1 / 16
    assert of_twins.crossing.low == pytest.approx(of_items.crossing.low, abs=grid)
    assert of_twins.crossing.high == pytest.approx(of_items.crossing.high, abs=grid)


def test_draws_that_agree_add_nothing():
    scores, labels, rates, strata, _ = made(np.random.default_rng(8), 2.2)
    alone = curve_of(scores, labels, rates, strata)
    assert curve_of(scores, labels, rates, strata, np.column_stack([scores] * 4)).crossing == alone.crossing


@pytest.mark.parametrize("seed", range(20))
def test_ends_are_those_of_the_isotonic_regression(seed):
    """Found without making a curve; with weights of 0, as in a resample, and means that are the target exactly."""
    rng = np.random.default_rng(seed)
    rates, placed = np.sort(rng.integers(0, 6, 15)) / 5, np.clip(rng.integers(0, 5, (40, 15)) / 4 + 0.25, 0, 1)
    placed += np.linspace(-0.5, 0.2, 15) * rng.integers(0, 2)
    weights = rng.integers(0, 2, (40, 15)).astype(float) * rng.integers(1, 4, 15)
    weights[:, 7] += 1
    lasts, firsts = _ends(placed, weights, _by_rate(rates), 0.75)
    for of_row, weight, last, first in zip(placed, weights, lasts, firsts, strict=True):
        kept = weight > 0
        distinct, place = np.unique(rates[kept], return_inverse=True)
        counts = np.bincount(place, weights=weight[kept])
        means = np.bincount(place, weights=(weight * of_row)[kept]) / counts
        reached = isotonic_regression(means, sample_weight=counts) >= 0.75 - 1e-12
        below, above = distinct[~reached], distinct[reached]
        assert last == (np.inf if not len(above) else below.max(initial=-np.inf))
        assert first == (-np.inf if not len(below) else above.min(initial=np.inf))


def test_without_a_label_there_is_no_curve():
    found = curve_of(np.arange(4.0), np.ones(4), np.linspace(0, 1, 4))
    assert len(found.rates) == 0
    assert np.isnan([found.crossing.value, found.crossing.low, found.crossing.high]).all()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"rates": [0, 0, np.nan, 1]}, "rate in"),
        ({"rates": [0, 0, 0.5, 1.5]}, "rate in"),
        ({"rates": [0.5, 1]}, "shape"),
        ({"strata": ["a"]}, "strata"),
        ({"target": 0.5}, "target"),
    ],
)
def test_what_makes_no_sense_is_refused(change, word):
    given = {"rates": [np.nan, np.nan, 0.5, 1]} | change
    with pytest.raises(ValueError, match=word):
        curve_of(np.arange(4.0), [0, 0, 1, 1], **given)
