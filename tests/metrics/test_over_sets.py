"""One bootstrap over several sets: variances that are known, ranks whose truth is known, and published figures."""

from statistics import NormalDist

import numpy as np
import pytest

from memdet.metrics import SetScores, auroc, bootstrap_sets, ranks_of, tau_between
from memdet.metrics._draws import area_moves
from memdet.metrics._over_sets import Means
from memdet.metrics._placements import contributions, layout, variance


def normal_set(rng, shifts, n=40, seeds=0, world="w", prefix=""):
    """Detectors whose scores of ``n`` positives lie higher by so many standard deviations."""
    labels = np.repeat([1, 0], n)
    scores, by_seed = {}, {}
    for place, shift in enumerate(shifts):
        one = rng.normal(size=2 * n) + shift * labels
        if seeds:
            own = one[:, None] + 0.3 * labels[:, None] * rng.normal(size=seeds) + 0.3 * rng.normal(size=(2 * n, seeds))
            by_seed[f"d{place}"], one = own, own.mean(axis=1)
        scores[f"d{place}"] = one
    return SetScores(labels, [f"{prefix}{i}" for i in range(2 * n)], scores, by_seed, range(seeds), world)


def overall(areas, less=0):
    """Mean over sets of the AUROC minus that of the first detector."""
    k, sets = areas.values.shape
    return areas.means(np.full(sets, 1 / sets), np.tile(np.arange(k)[:, None], sets), np.full(sets, less))


def test_areas_are_those_of_auroc_and_missing_ones_are_nan():
    rng = np.random.default_rng(1)
    first, second = normal_set(rng, [0, 1]), normal_set(rng, [0, 1, 2], prefix="other")
    areas = bootstrap_sets([first, second], draws=10)
    assert areas.detectors == ["d0", "d1", "d2"]
    for place, one in enumerate((first, second)):
        for row, name in enumerate(areas.detectors):
            expected = auroc(one.scores[name], one.labels) if name in one.scores else np.nan
            np.testing.assert_equal(areas.values[row, place], expected)
    assert (areas.plain[:, 2, 0] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("families", [120, 24])
def test_the_variance_of_items_is_that_of_delong_and_obuchowski(families):
    rng = np.random.default_rng(2)
    cluster = np.arange(120) * families // 120
    labels = np.repeat([1, 0], 60)
    scores = labels + rng.normal(size=families)[cluster] + rng.normal(size=120)
    areas = bootstrap_sets([SetScores(labels, cluster, {"d": scores})], draws=20_000)
    where = layout(labels, cluster)
    expected, _ = variance(contributions(scores[None], where), where)
    assert areas.plain[:, 0, 0].var() == pytest.approx(expected[0], rel=0.06)


@pytest.mark.slow
def test_a_family_under_both_labels_is_drawn_as_one():
    """A positive and a negative that share their luck: the AUROC of such twins varies less."""
    rng = np.random.default_rng(3)
    luck, labels = rng.normal(size=80), np.repeat([1, 0], 80)
    scores = 0.8 * labels + np.tile(luck, 2) + 0.3 * rng.normal(size=160)
    twins, apart = (
        bootstrap_sets([SetScores(labels, units, {"d": scores})], draws=10_000).plain.var()
        for units in (np.tile(np.arange(80), 2), np.arange(160))
    )
    where = layout(labels, np.tile(np.arange(80), 2))
    expected, _ = variance(contributions(scores[None], where), where)
    assert twins == pytest.approx(expected[0], rel=0.1)
    assert twins < 0.5 * apart


@pytest.mark.slow
def test_noise_draws_add_the_part_of_the_jackknife():
    one = normal_set(np.random.default_rng(4), [1.0, 0.5], n=60, seeds=8)
    still = SetScores(one.labels, one.units, one.scores)
    where = layout(np.asarray(one.labels), np.asarray(one.units))
    part = area_moves(list(one.by_seed.values()), where).of_rows().variance
    assert (part > 0).all()
    plain = bootstrap_sets([one], draws=20_000).plain.var(axis=0)[:, 0]
    items = bootstrap_sets([still], draws=20_000).plain.var(axis=0)[:, 0]
    assert plain - items == pytest.approx(part, rel=0.15)


def test_one_cluster_in_two_sets_is_drawn_once_and_others_by_themselves():
    one = normal_set(np.random.default_rng(5), [1.0])
    other = SetScores(one.labels, [f"x{name}" for name in one.units], one.scores)
    same = bootstrap_sets([one, one], draws=4_000).plain[:, 0]
    assert (same[:, 0] == same[:, 1]).all()
    strangers = bootstrap_sets([one, other], draws=4_000).plain[:, 0]
    assert abs(np.corrcoef(strangers.T)[0, 1]) < 0.06


def test_noise_is_shared_within_a_world_alone():
    moved = np.repeat([1, 0], 40)[:, None] * np.random.default_rng(6).normal(size=8) + np.linspace(0, 1, 80)[:, None]
    sets = [
        SetScores(np.repeat([1, 0], 40), [f"{place}-{i}" for i in range(80)], {"d": moved.mean(axis=1)}, {"d": moved},
                  range(8), world)
        for place, world in enumerate(("a", "a", "b"))
    ]  # fmt: skip
    areas = bootstrap_sets(sets, draws=4_000)
    still = bootstrap_sets([SetScores(s.labels, s.units, s.scores) for s in sets], draws=4_000)
    assert areas.plain.var() > 2 * still.plain.var()
    together = np.corrcoef(areas.plain[:, 0].T)
    assert together[0, 1] > 0.4
    assert abs(together[0, 2]) < 0.06


def test_a_perfect_detector_varies_in_no_draw_and_has_a_least_variance():
    labels = np.repeat([1, 0], 15)
    areas = bootstrap_sets([SetScores(labels, range(30), {"d": labels})], draws=200)
    assert areas.values[0, 0] == 1
    assert np.abs(areas.plain).max() < 1e-12
    assert areas.variance_of_mean(0, [0]) == pytest.approx(15 / (16**2 * 17))  # of Beta(15, 1)


def test_detectors_that_never_differ_are_told_apart_by_the_sign_test_alone():
    for clusters, told in ((3, False), (12, True)):
        labels = np.repeat([1, 0], clusters)
        sets = [SetScores(labels, range(2 * clusters), {"chance": 0 * labels, "perfect": labels, "too": labels})]
        ranks = ranks_of(overall(bootstrap_sets(sets, draws=50)))
        assert ranks.values.tolist() == [3, 1, 1]
        assert ranks.low.tolist() == [3 if told else 1, 1, 1]
        assert ranks.high.tolist() == [3, 2 if told else 3, 2 if told else 3]


def test_one_detector_has_rank_one():
    ranks = ranks_of(overall(bootstrap_sets([normal_set(np.random.default_rng(0), [1.0])], draws=20)))
    assert (ranks.values.tolist(), ranks.low.tolist(), ranks.high.tolist()) == ([1], [1], [1])


def test_draws_are_the_same_again_and_do_not_depend_on_who_else_is_there():
    rng = np.random.default_rng(7)
    one = normal_set(rng, [1.0, 0.5], seeds=4)
    alone = SetScores(one.labels, one.units, {"d1": one.scores["d1"]}, {"d1": one.by_seed["d1"]}, one.seeds, one.world)
    both, again, single = (bootstrap_sets([s], draws=100).heavy for s in (one, one, alone))
    np.testing.assert_array_equal(both, again)
    np.testing.assert_allclose(both[:, 1], single[:, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        ([], "no sets"),
        ([SetScores([1, 1, 0], ["a", "b", "c"], {"d": [1, 2, 3]})], "fewer than two clusters"),
        ([SetScores([1, 1, 0, 0], ["a", "b", "c", "d"], {})], "without scores"),
        ([SetScores([1, 1, 0, 0], ["a", "b", "c", "d"], {"d": np.ones(4)}, {"d": np.ones((4, 2))}, [0])], "columns"),
        ([SetScores([1, 1, 0, 0], ["a", "b", "c"], {"d": np.ones(4)})], "shape"),
    ],
)
def test_what_cannot_be_drawn_is_refused(sets, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_sets(sets, draws=5)


# Ranks, over simulated tables

SHIFTS = (0.0, 0.6, 0.6, 1.1, 1.6)  # the second and third are equal


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "made"), [(0, 100), (4, 40)])
def test_all_rank_intervals_of_a_table_hold_the_true_ranks(seeds, made):
    """Of equal detectors every rank that they share is true, and an interval has to hold them all."""
    rng, wrong, width = np.random.default_rng(2026), 0, []
    least = np.array([sum(other > shift for other in SHIFTS) + 1 for shift in SHIFTS])
    most = np.array([sum(other >= shift for other in SHIFTS) for shift in SHIFTS])
    for _ in range(made):
        sets = [normal_set(rng, SHIFTS, 40, seeds, world, prefix=world) for world in ("a", "b")]
        ranks = ranks_of(overall(bootstrap_sets(sets, draws=300)))
        wrong += bool(((ranks.low > least) | (ranks.high < most)).any())
        width.append((ranks.high - ranks.low).mean())
    print(f"\nwrong in {wrong / made:.1%} of the tables; {np.mean(width):.2f} ranks wide")
    assert wrong <= made * 0.05 + 2 * np.sqrt(made * 0.05 * 0.95)
    assert np.mean(width) < 3  # of 4


@pytest.mark.slow
def test_equal_detectors_are_told_apart_in_one_table_of_twenty_at_most():
    rng, made, wrong = np.random.default_rng(2027), 100, 0
    for _ in range(made):
        sets = [normal_set(rng, [1.0] * 6, 30, world=world, prefix=world) for world in ("a", "b")]
        wrong += bool(ranks_of(overall(bootstrap_sets(sets, draws=300))).above.any())
    print(f"\nwrong in {wrong / made:.1%} of the tables")
    assert wrong <= made * 0.05 + 2 * np.sqrt(made * 0.05 * 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [0, 6])
def test_the_interval_of_a_mean_gain_holds_its_truth(seeds):
    rng, made, held = np.random.default_rng(2028), 80, 0
    spread = np.sqrt(2 * (1 + 0.09 / seeds) + 0.09 / seeds) if seeds else np.sqrt(2)
    truth = NormalDist().cdf(1.2 / spread) - 0.5
    for _ in range(made):
        sets = [normal_set(rng, [0.0, 1.2], 25, seeds, world, prefix=world) for world in ("a", "b")]
        interval = overall(bootstrap_sets(sets, draws=300)).intervals()[1]
        held += interval.low <= truth <= interval.high
    print(f"\nholds in {held / made:.1%}")
    assert held / made >= 0.91


# From world to world


def test_tau_is_that_of_a_well_known_analysis():
    """Thirteen trials of the BCG vaccine (Colditz et al. 1994): metafor gives 0.3088 for tau^2 of log risks."""
    ill, well = (
        np.array([4, 6, 3, 62, 33, 180, 8, 505, 29, 17, 186, 5, 27]),
        np.array([119, 300, 228, 13536, 5036, 1361, 2537, 87886, 7470, 1699, 50448, 2493, 16886]),
    )
    ill_too, well_too = (
        np.array([11, 29, 11, 248, 47, 372, 10, 499, 45, 65, 141, 3, 29]),
        np.array([128, 274, 209, 12619, 5761, 1079, 619, 87892, 7232, 1600, 27197, 2338, 17825]),
    )
    effects = np.log(ill / (ill + well)) - np.log(ill_too / (ill_too + well_too))
    variances = 1 / ill - 1 / (ill + well) + 1 / ill_too - 1 / (ill_too + well_too)
    assert tau_between(effects, variances) ** 2 == pytest.approx(0.3088, abs=5e-5)


def test_tau_of_two_worlds_by_hand():
    """With one variance v for both, Q = d^2 / 2 v and tau^2 = (Q - 1) v."""
    assert tau_between([0.9, 0.6], [0.01, 0.01]) ** 2 == pytest.approx(0.09 / 2 - 0.01)
    assert tau_between([0.9, 0.8], [0.01, 0.01]) == 0
    assert tau_between([0.9, 0.9], [0.01, 0.01]) == 0


def test_a_planted_tau_is_found_and_none_is_not():
    rng, within = np.random.default_rng(8), rng_variances(12)
    for tau in (0.0, 0.1):
        found = [
            tau_between(0.7 + tau * rng.normal(size=12) + np.sqrt(within) * rng.normal(size=12), within)
            for _ in range(150)
        ]
        # The estimate of tau^2 is unbiased but for what is cut off at 0.
        assert np.mean(np.square(found)) == pytest.approx(tau**2, abs=0.0015)
        assert np.mean(np.array(found) == 0) > 0.4 if tau == 0 else np.median(found) == pytest.approx(0.1, abs=0.015)


def rng_variances(worlds):
    return np.linspace(0.02, 0.05, worlds) ** 2


@pytest.mark.parametrize(
    ("values", "variances"),
    [([0.5], [0.1]), ([0.5, 0.6], [0.1]), ([0.5, 0.6], [0.1, 0.0]), ([0.5, np.nan], [0.1, 0.1]), ([[0.5]], [[0.1]])],
)
def test_tau_of_what_cannot_be_compared_is_refused(values, variances):
    with pytest.raises(ValueError, match="finite|two or more"):
        tau_between(values, variances)


def test_a_gain_is_within_minus_one_and_one():
    off = np.array([[1.5], [-1.5], [1.0]])
    assert Means(np.array([0.9]), off, off, 5).intervals()[0].high == 1
