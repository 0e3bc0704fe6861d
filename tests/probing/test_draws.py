"""Draws: known streams, and dependence on seed and item alone."""

import pytest
import torch

from memdet.probing import draws
from tests.helpers.problems import make_items, make_mixture, make_probe, select

NAME = "fewer components than dimensions"


@pytest.fixture(scope="module")
def model():
    return make_mixture(NAME)


@pytest.mark.parametrize("seed", [0, 1, 12])
def test_shared_noise_is_the_stream_of_a_pipeline(model, seed):
    expected = torch.randn(1, 2, 3, generator=torch.Generator("cpu").manual_seed(seed))
    noise = make_probe(model, make_items(["some"] * 3), seed=seed).noise
    assert noise.shape == (3, 1, 2, 3)
    assert noise.dtype == model.dtype
    for row in noise:
        assert torch.equal(row, expected.double())


def test_item_noise_depends_on_seed_and_item_alone(model):
    items = make_items(["some"] * 6)

    def noise(order, seed):
        probe = make_probe(model, select(items, order), seed=seed, noise="per-item")
        return dict(zip(select(items, order).ids, probe.noise, strict=True))

    whole, part, other = noise(range(6), 0), noise([4, 1], 0), noise(range(6), 1)
    assert all(torch.equal(part[name], whole[name]) for name in part)
    rows = torch.stack([*whole.values(), *other.values()])
    assert len({tuple(row.flatten().tolist()) for row in rows}) == 12


def test_item_noise_is_standard_normal():
    noise = torch.stack([draws.item_noise((64,), 0, f"item-{i}") for i in range(200)])
    assert float(noise.mean()) == pytest.approx(0, abs=4 / noise.numel() ** 0.5)
    assert float(noise.var()) == pytest.approx(1, abs=6 / noise.numel() ** 0.5)


def test_probe_vectors(model):
    probe = make_probe(model, make_items(["some"] * 3), seed=4)
    signs = probe.directions(3)
    assert all(torch.equal(v.abs(), torch.ones(3, 1, 2, 3)) for v in (v.float() for v in signs))
    assert all(torch.equal(v, v[:1].expand_as(v)) for v in signs)
    assert len({tuple(draws.rademacher((64,), 4, index).tolist()) for index in range(5)}) == 5
    assert not torch.equal(draws.rademacher((64,), 4, 0), draws.rademacher((64,), 5, 0))
    (start,) = probe.directions(1, "gaussian")
    assert not torch.equal(start, probe.noise)


def test_first_probe_vectors_do_not_depend_on_how_many_are_asked(model):
    items = make_items(["some"] * 2)
    few, many = make_probe(model, items).directions(1), make_probe(model, items).directions(4)
    assert torch.equal(few[0], many[0])


def test_draws_share_no_vectors_and_the_noise_stays(model):
    items = make_items(["some"] * 2)
    probe = make_probe(model, items)
    vectors = [v for draw in (0, 1, 2) for v in probe.directions(3, "gaussian", draw=draw)]
    assert len({tuple(v[0].flatten().tolist()) for v in vectors}) == 9
    assert torch.equal(probe.noise, make_probe(model, items).noise)
    again = make_probe(model, items).directions(3, "gaussian", draw=1)
    assert all(torch.equal(a, b) for a, b in zip(vectors[3:6], again, strict=True))


def test_signs_are_balanced():
    total = sum(float(draws.rademacher((1_000,), 0, index).sum()) for index in range(20))
    assert abs(total) < 4 * 20_000**0.5


def test_uniform():
    items = make_items(["some"] * 400)
    first, second = make_probe(None, items, seed=0).uniform(), make_probe(None, items, seed=1).uniform()
    assert first.dtype == torch.float64
    assert ((first >= 0) & (first < 1)).all()
    assert float(first.mean()) == pytest.approx(0.5, abs=4 / (12 * 400) ** 0.5)
    assert (first != second).all()
    assert torch.equal(make_probe(None, select(items, [7, 3]), seed=0).uniform(), first[[7, 3]])
