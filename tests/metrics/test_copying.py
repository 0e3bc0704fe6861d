"""Statistics of data-copying: a copier is found, a fresh sampler is not, and each formula by another way."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats
from sklearn.cluster import KMeans
from sklearn.neighbors import NearestNeighbors

from memdet.metrics import authenticity, data_copying, likelihood_gap, memorized_share
from memdet.metrics._copying import nearest


def draw(rng, n, d=2):
    """Three clusters of different widths."""
    which = rng.integers(3, size=n)
    return (
        np.array([[0, 0], [6, 1], [-3, 5]])[which][:, :d] + rng.normal(size=(n, d)) * np.array([1, 0.5, 2])[which, None]
    )


def copies(rng, train, n, noise):
    return train[rng.integers(len(train), size=n)] + noise * rng.normal(size=(n, train.shape[1]))


def naive_copying(train, held_out, generated, cells, least):
    """By SciPy's test, scikit-learn's neighbours and a loop over pairs of numbers."""
    partition = KMeans(cells, n_init=10, random_state=0).fit(train)
    total = weight = squares = 0.0
    for cell in range(cells):
        known, kept, made = (sample[partition.predict(sample) == cell] for sample in (train, held_out, generated))
        if len(made) < least or not len(kept):
            continue
        search = NearestNeighbors(n_neighbors=1, algorithm="kd_tree").fit(known)
        of_made, of_kept = search.kneighbors(made)[0][:, 0], search.kneighbors(kept)[0][:, 0]
        u = stats.mannwhitneyu(of_made, of_kept).statistic
        m, n = len(made), len(kept)
        z = (u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)
        total, weight, squares = total + n * z, weight + n, squares + n**2
    return total / weight, total / math.sqrt(squares)


def test_data_copying_another_way():
    rng = np.random.default_rng(0)
    train, held_out, generated = draw(rng, 400), draw(rng, 250), draw(rng, 300)
    for cells, least in ((1, 20), (4, 20), (9, 40)):
        found = data_copying(train, held_out, generated, cells=cells, min_generated=least)
        statistic, z = naive_copying(train, held_out, generated, cells, least)
        assert (found.statistic, found.z) == pytest.approx((statistic, z), rel=1e-9)
        assert found.p_value == pytest.approx(stats.norm.cdf(z))
    assert found.cells < 9  # some held too few


def test_copiers_and_those_who_miss_the_data_are_told_apart():
    rng = np.random.default_rng(1)
    train, held_out = draw(rng, 500), draw(rng, 400)
    copier = data_copying(train, held_out, copies(rng, train, 400, 0.01), cells=5)
    wide = data_copying(train, held_out, copies(rng, train, 400, 1.5), cells=5)
    exact = data_copying(train, held_out, train[:400], cells=5)
    assert copier.statistic < -8
    assert exact.statistic < copier.statistic
    assert exact.p_value < 1e-12
    assert wide.statistic > 2


def test_half_a_copier_in_one_cell_is_seen():
    """The paper's reason for cells: copies in one region, and samples too far away in another, cancel out in one."""
    rng = np.random.default_rng(2)
    train, held_out, fresh = draw(rng, 900), draw(rng, 900), draw(rng, 900)
    near = np.linalg.norm(fresh - [6, 1], axis=1) < 2.5
    pool = train[np.linalg.norm(train - [6, 1], axis=1) < 2.5]
    generated = fresh.copy()
    generated[near] = copies(rng, pool, near.sum(), 0.01)
    generated[~near] += rng.normal(size=(int((~near).sum()), 2)) * 0.6
    whole, in_cells = (data_copying(train, held_out, generated, cells=cells) for cells in (1, 3))
    assert in_cells.z < whole.z


@pytest.mark.slow
def test_z_is_standard_normal_where_nothing_is_copied():
    rng = np.random.default_rng(3)
    found = [data_copying(draw(rng, 150), draw(rng, 120), draw(rng, 90), cells=4, min_generated=5) for _ in range(500)]
    z = np.array([one.z for one in found])
    assert abs(z.mean()) < 3 / math.sqrt(len(z))
    assert 0.9 < z.std() < 1.1
    assert stats.kstest([one.p_value for one in found], "uniform").pvalue > 0.01


def test_ties_have_their_variance():
    """Numbers on a grid: SciPy's tie correction."""
    rng = np.random.default_rng(4)
    train, held_out, generated = (rng.integers(0, 4, size=(n, 2)).astype(float) for n in (9, 60, 50))
    found = data_copying(train, held_out, generated, cells=1)
    of_made, of_kept = (nearest(sample, train)[0][:, 0] for sample in (generated, held_out))
    expected = stats.mannwhitneyu(of_made, of_kept, use_continuity=False, method="asymptotic", alternative="less")
    assert found.p_value == pytest.approx(expected.pvalue)
    everything = np.zeros((30, 1))
    assert data_copying(everything, everything, everything, cells=1).z == 0


def test_shares_of_a_copier_and_of_others():
    rng = np.random.default_rng(5)
    train, fresh = rng.normal(size=(300, 6)), rng.normal(size=(400, 6))
    copied = copies(rng, train, 400, 0.01)
    assert memorized_share(train, copied) == 1
    assert memorized_share(train, fresh) < 0.02
    assert authenticity(train, copied) == 0
    assert authenticity(train, train) == 0
    # A fresh sample is nearer to its neighbour than all others are about half the time: it could be one of them.
    assert 0.3 < authenticity(train, fresh) < 0.7
    mixed = np.concatenate([copied[:100], fresh[:300]])
    assert memorized_share(train, mixed) == pytest.approx(0.25, abs=0.02)


def test_shares_by_loops():
    rng = np.random.default_rng(6)
    train, generated = draw(rng, 40), draw(rng, 30)
    close = authentic = 0
    for x in generated:
        ordered = sorted((math.dist(x, y), index) for index, y in enumerate(train))
        close += ordered[0][0] / ordered[1][0] < 1 / 3
        y = ordered[0][1]
        others = min(math.dist(train[y], train[j]) for j in range(len(train)) if j != y)
        authentic += ordered[0][0] >= others
    assert memorized_share(train, generated) == pytest.approx(close / 30)
    assert authenticity(train, generated) == pytest.approx(authentic / 30)


def test_neighbours_are_those_of_scikit_learn():
    rng = np.random.default_rng(7)
    known, samples = rng.normal(size=(60, 3)), rng.normal(size=(20, 3))
    expected = NearestNeighbors(n_neighbors=4, algorithm="kd_tree").fit(known).kneighbors(samples)
    distances, where = nearest(samples, known, 4)
    np.testing.assert_allclose(distances, expected[0], rtol=1e-12)
    np.testing.assert_array_equal(where, expected[1])
    assert nearest(known, known)[0].max() == 0


def naive_gap(train, held_out, generated):
    """One Gaussian at each sample; its variance by a search of the likelihood, one after the other."""
    mean, std = held_out.mean(axis=0), held_out.std(axis=0)
    train, held_out, centres = ((sample - mean) / std for sample in (train, held_out, generated))
    d = train.shape[1]

    def logs(sample, logarithms):
        squares = ((sample[:, None] - centres) ** 2).sum(axis=2)
        each = [
            stats.multivariate_normal.logpdf(np.sqrt(squares[:, [j]]) * np.eye(d)[:1], np.zeros(d), math.exp(value))
            for j, value in enumerate(logarithms)
        ]
        return np.log(np.mean(np.exp(each), axis=0))

    from scipy.optimize import minimize

    nearest_one = ((train[:, None] - centres) ** 2).sum(axis=2).min(axis=0)
    start = np.log((nearest_one + 1e-3) / d)
    fitted = minimize(lambda v: -logs(train, v).mean(), start, bounds=[(-13, 3)] * len(centres)).x
    return 100 / d * (logs(held_out, fitted).mean() - logs(train, fitted).mean())


@pytest.mark.slow
def test_likelihood_gap_another_way():
    for seed in (1, 2, 8):
        rng = np.random.default_rng(seed)
        train, held_out, generated = (rng.normal(size=(n, 2)) for n in (80, 80, 5))
        expected = naive_gap(train, held_out, generated)
        assert likelihood_gap(train, held_out, generated) == pytest.approx(expected, abs=0.01)


def test_likelihood_gap_by_hand():
    """One Gaussian: its variance is the training set's mean square about it."""
    train, held_out = np.array([[-1.0], [1.0], [3.0]]), np.array([[-1.0], [1.0]])
    variance = (1 + 1 + 9) / 3
    nll = [square / (2 * variance) for square in (variance, 1.0)]  # the rest is common to both
    assert likelihood_gap(train, held_out, [[0.0]]) == pytest.approx(100 * (nll[0] - nll[1]))


def test_likelihood_gap_falls_with_copying():
    rng = np.random.default_rng(9)
    train, held_out, fresh = (rng.normal(size=(150, 4)) for _ in range(3))
    gaps = [likelihood_gap(train, held_out, sample) for sample in (fresh, copies(rng, train, 150, 0.2), train)]
    assert gaps[0] > gaps[1] > gaps[2]
    padded = [np.pad(sample, ((0, 0), (0, 3))) for sample in (train, held_out, fresh)]  # black borders say nothing
    assert likelihood_gap(*padded) == pytest.approx(gaps[0])
    swapped = likelihood_gap(train, train + 0, fresh)
    assert swapped == pytest.approx(0)


def test_scale_and_order_do_not_matter():
    rng = np.random.default_rng(10)
    train, held_out, generated = draw(rng, 200), draw(rng, 150), copies(rng, draw(rng, 50), 150, 0.3)
    order = rng.permutation(150)
    for a, b in itertools.product((1.0, 8.0), (0.0, 2.0)):
        moved = [a * sample + b for sample in (train, held_out, generated[order])]
        assert data_copying(*moved, cells=1).z == pytest.approx(data_copying(train, held_out, generated, cells=1).z)
        assert likelihood_gap(*moved) == pytest.approx(likelihood_gap(train, held_out, generated))
        assert authenticity(moved[0], moved[2]) == authenticity(train, generated)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: data_copying(x, x, x, cells=0), "cells is a number of cells from 1 to the 5"),
        (lambda x: data_copying(x, x, x, cells=6), "cells is a number"),
        (lambda x: data_copying(x, x, x, cells=2), "no cell holds 20 generated samples"),
        (lambda x: authenticity(x[:1], x), "2 neighbours are asked for, and 1 samples"),
        (lambda x: memorized_share(x, x[:, :1]), "2 and 1 features"),
        (lambda x: memorized_share(x, x[0]), r"\[n, d\], got \[2\]"),
        (lambda x: likelihood_gap(x, x[:0], x), r"\[n, d\], got \[0, 2\]"),
        (lambda x: likelihood_gap(x, np.ones((3, 2)), x), "do not vary"),
        (lambda x: likelihood_gap(x, x, x * np.nan), "not finite"),
    ],
)
def test_samples_that_do_not_fit(call, match):
    with pytest.raises(ValueError, match=match):
        call(np.arange(10.0).reshape(5, 2))
