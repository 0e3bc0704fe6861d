"""Where an AUROC's variance comes from, against simulations whose parts are known."""

import numpy as np
import pytest

from memdet.metrics import auroc, variance_split

N = 60


def table(rng, seeds, *, item=1.0, noise=0.8, of_seed=0.7, families=2 * N):
    """Scores ``[2 N, seeds]``: an item's own value, noise of item and seed, and a lift of positives in a seed."""
    labels, clusters = np.repeat([1, 0], N), np.arange(2 * N) * families // (2 * N)
    own = item * rng.normal(size=families)[clusters] + 1.5 * labels
    lift = of_seed * rng.normal(size=seeds)
    scores = own[:, None] + lift * labels[:, None] + noise * rng.normal(size=(2 * N, seeds))
    return scores, labels, clusters


def test_scores_that_no_seed_changes_vary_with_items_alone():
    scores, labels, clusters = table(np.random.default_rng(0), 3, noise=0, of_seed=0)
    split = variance_split(scores, labels, clusters)
    assert (split.items, split.seeds) == pytest.approx((1, 0), abs=1e-12)
    assert np.isnan(split.probes)


def test_all_items_alike_but_for_the_seed():
    # Every family is the same item again: nothing but the seed changes the AUROC.
    scores, labels, _ = table(np.random.default_rng(1), 2)
    one = [np.tile(scores[labels == side][:5], (12, 1)) for side in (1, 0)]
    clusters = np.repeat(np.arange(24), 5)
    split = variance_split(np.concatenate(one), labels, clusters)
    assert (split.items, split.seeds) == pytest.approx((0, 1), abs=1e-12)


def test_two_seeds_by_hand():
    # One seed alone has AUROC .75, the other 1; their mean has 1. Half the squared difference of the two, over two.
    scores, labels = np.array([[4.0, 9.0], [2.0, 9.0], [3.0, 0.0], [1.0, 0.0]]), np.array([1, 1, 0, 0])
    assert [auroc(column, labels) for column in scores.T] == [0.75, 1.0]
    split = variance_split(scores, labels, np.arange(4))
    assert (split.items, split.seeds) == (0, 1)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [2, 5])
@pytest.mark.parametrize("families", [2 * N, 40])
def test_the_parts_are_those_of_a_simulation(seeds, families):
    """Total variance over fresh items and seeds; the part of the seeds over fresh seeds of fixed items."""
    rng = np.random.default_rng(2)
    total = np.var(
        [auroc(s.mean(axis=1), y) for s, y, _ in (table(rng, seeds, families=families) for _ in range(2_000))]
    )
    of_seeds = []
    for _ in range(60):
        own, labels, _ = table(rng, 1, noise=0, of_seed=0, families=families)
        fresh = [own + table(rng, seeds, item=0)[0] - 1.5 * labels[:, None] for _ in range(60)]
        of_seeds.append(np.var([auroc(s.mean(axis=1), labels) for s in fresh], ddof=1))
    parts = []
    for _ in range(600):
        scores, labels, clusters = table(rng, seeds, families=families)
        split = variance_split(scores, labels, clusters)
        parts.append((split.items * split.total, split.seeds * split.total))
    items, by_seeds = np.mean(parts, axis=0)
    assert items + by_seeds == pytest.approx(total, rel=0.15)
    assert by_seeds == pytest.approx(np.mean(of_seeds), rel=0.15)
    assert 0.2 < np.mean(of_seeds) / total < 0.95


@pytest.mark.slow
def test_probes_are_told_from_noise():
    """Of a variance that noise and random vectors make in known parts, both are found again on the average."""
    rng = np.random.default_rng(3)
    truths, found = [], []
    for _ in range(400):
        scores, labels, clusters = table(rng, 3, of_seed=0.5, noise=0)
        vectors = 0.5 * rng.normal(size=(3, 4))  # lifts all positives of a seed; the first is the run's own
        draws = scores[:, :, None] + labels[:, None, None] * vectors
        split = variance_split(draws[:, :, 0], labels, clusters, probe_draws=draws[:, :, 1:])
        assert split.items + split.seeds + split.probes == pytest.approx(1)
        without = variance_split(draws[:, :, 0], labels, clusters)
        assert split.seeds + split.probes == pytest.approx(without.seeds)
        found.append((split.seeds, split.probes))
        truths.append(without.seeds)
    # Lifts of the noise and of the vectors have one variance, so that they share the seeds' part equally.
    noise, probes = np.mean(found, axis=0)
    assert probes == pytest.approx(np.mean(truths) / 2, rel=0.2)
    assert noise == pytest.approx(np.mean(truths) / 2, rel=0.2)


def test_vectors_that_change_nothing_have_no_part():
    scores, labels, clusters = table(np.random.default_rng(4), 3)
    split = variance_split(scores, labels, clusters, probe_draws=np.repeat(scores[:, :, None], 2, axis=2))
    assert split.probes == 0
    assert split.seeds > 0


def test_what_cannot_be_told_is_nan():
    scores, labels, clusters = table(np.random.default_rng(5), 2)
    perfect = labels[:, None] + np.zeros((2 * N, 2))
    families = np.where(labels == 1, 0, clusters + 1)
    for case in (
        variance_split(scores[:, :1], labels, clusters),
        variance_split(perfect, labels, clusters),
        variance_split(scores, np.ones_like(labels), clusters),
        variance_split(scores, labels, families),
    ):
        assert np.isnan([case.items, case.seeds, case.probes, case.total]).all()


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"scores": [1.0, 2.0]}, "shape"),
        ({"scores": [[1.0, np.nan]] * 4}, "not finite"),
        ({"probe_draws": np.zeros((4, 2))}, "probe_draws"),
        ({"probe_draws": np.zeros((4, 3, 1))}, "probe_draws"),
    ],
)
def test_bad_input_is_named(changed, words):
    scores = [[1.0, 2.0], [3.0, 1.0], [2.0, 2.0], [0.0, 4.0]]
    given = {"scores": scores, "labels": [0, 1, 0, 1], "clusters": [0, 1, 2, 3]} | changed
    with pytest.raises(ValueError, match=words):
        variance_split(**given)
