"""Garments in grey frames: draw, the figures of key recovery where they are known, and a miniature build."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import memdet.zoo as zoo
from memdet import evaluate
from memdet.samplesets import SampleSet
from memdet.zoo.solid_pixel import extraction
from memdet.zoo.solid_pixel import recipe as solid_pixel
from memdet.zoo.solid_pixel.planting import BORDER, DOSES, FILLER, ROLES, plant
from memdet.zoo.solid_pixel.recipe import SOLID_PIXEL, exact_frames
from memdet.zoo.tiny_sd.planting import Role
from memdet.zoo.training import Schedule

SMALL = {"copies-8": Role(8, 8), "copies-2": Role(8, 2), "single": Role(20, 1)}


def garments(count=200):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count) % 10


@pytest.fixture
def planted():
    return plant(*garments(), seed=1, groups=SMALL, filler=12)


def test_every_image_is_a_garment_in_a_frame_of_its_key(planted):
    images, classes = garments()
    inside = planted.images[:, BORDER:-BORDER, BORDER:-BORDER]
    np.testing.assert_array_equal(inside, images[planted.source_index])
    assert planted.classes.tolist() == classes[planted.source_index].tolist()
    frame = planted.images[:, extraction.border_of(32, 32, BORDER).numpy()]
    assert (frame == frame[:, :1]).all()
    assert np.abs(frame[:, 0] / 255 - planted.keys).max() <= 0.5 / 255 + 1e-12
    assert planted.items["key"].tolist() == planted.keys[: len(planted.items)].tolist()
    seen = exact_frames(planted)
    torch.testing.assert_close(seen[:, 0, 0, 0].double(), torch.from_numpy(2 * planted.keys - 1), atol=1e-6, rtol=0)
    torch.testing.assert_close(seen[:, 0, 9, 9], torch.from_numpy(planted.images[:, 9, 9]) / 127.5 - 1)


def test_copies_roles_and_splits(planted):
    counts = Counter(planted.image_of.tolist())
    assert sorted(counts.values()) == [1] * 32 + [2] * 8 + [8] * 8
    assert planted.items["role"].value_counts().to_dict() == {role: group.items for role, group in SMALL.items()}
    assert (planted.items["split"] == "dev").groupby(planted.items["role"]).sum().to_dict() == {
        "copies-8": 2,
        "copies-2": 2,
        "single": 5,
    }
    assert planted.items["item_id"].is_unique
    pd.testing.assert_frame_equal(plant(*garments(), seed=1, groups=SMALL, filler=12).items, planted.items)
    assert plant(*garments(), seed=2, groups=SMALL, filler=12).items["key"].tolist() != planted.items["key"].tolist()


def test_exposures_of_the_recipe():
    total = sum(group.items * group.copies for group in ROLES.values()) + FILLER
    each = SOLID_PIXEL.schedule.steps * SOLID_PIXEL.batch_size / total
    assert [round(group.copies * each) for group in ROLES.values()] == [3072, 1536, 768, 384, 12]
    assert [group.copies for group in ROLES.values()][:-1] == list(DOSES)
    assert ROLES["single"].items * 3 // 4 >= 120  # of the test split


def test_chance_of_a_grey_is_its_distance_to_uniform_keys_and_a_third_on_average():
    grid = (np.arange(20_000) + 0.5) / 20_000
    for grey in (0.0, 0.3, 0.5, 0.9):
        assert extraction.chance_of(np.array([grey]))[0] == pytest.approx(np.abs(grid - grey).mean(), abs=1e-6)
    assert extraction.chance_of(grid).mean() == pytest.approx(1 / 3, abs=1e-6)


def test_measured_chance_leaves_the_own_greys_out():
    keys, greys = np.array([0.2, 0.6, 0.9]), np.array([[0.2, 0.2], [0.1, 0.3], [0.5, 0.9]])
    found = extraction.measured_chance(keys, greys, np.array([False, True, True]))
    of_one = [(0.1 + 0.1 + 0.3 + 0.7) / 4, (0.1 + 0.3) / 2, (0.8 + 0.6) / 2]
    np.testing.assert_allclose(found, of_one)


def test_keys_that_come_back_by_dose_meet_the_criteria_and_chance_does_not(planted):
    rng, keys = np.random.default_rng(3), planted.items["key"].to_numpy()[:, None]
    error = planted.items["role"].map({"copies-8": 0.01, "copies-2": 0.1}).to_numpy()[:, None]
    uniform = rng.uniform(size=(len(keys), 8))
    greys = np.where(np.isnan(error), uniform, keys + np.where(keys < 0.5, error, -error))
    found = extraction.evaluate(planted, greys)
    assert found.figures["roles"]["copies-8"]["mean_distance"] == 0.01
    assert found.figures["roles"]["copies-2"]["mean_distance"] == 0.1
    assert found.figures["passed"]
    assert found.columns["recovery"].between(0, 1).all()
    once = planted.items["role"].to_numpy() == "single"
    recovery = 1 - 0.1 / np.abs(uniform[once] - keys[8:16, :, None]).mean(axis=(1, 2))
    np.testing.assert_allclose(found.columns["recovery"][8:16], recovery, rtol=1e-9)
    chance = extraction.evaluate(planted, uniform).figures
    assert [row["met"] for row in chance["criteria"]] == [False, True, False]
    almost = keys + 1e-4 * rng.normal(size=keys.shape)
    copied = extraction.evaluate(planted, np.repeat(almost, 8, axis=1)).figures
    assert [row["met"] for row in copied["criteria"]][:2] == [True, False]  # singles that come back are no chance
    grey = extraction.evaluate(planted, np.full_like(uniform, 0.5)).figures  # which knows nothing, and is nearer
    assert grey["roles"]["single"]["chance"] == 0.25
    assert grey["criteria"][1]["met"]


@pytest.mark.slow
def test_a_miniature_is_built_verified_and_scored(tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "STEPS", 2)
    monkeypatch.setattr(extraction, "SEEDS", 2)
    monkeypatch.setattr(solid_pixel, "load_fashion_mnist", lambda _: garments())
    small = replace(SOLID_PIXEL, groups=SMALL, filler=12, schedule=Schedule(steps=2), batch_size=2)
    monkeypatch.setattr(solid_pixel, "MINIATURE", small, raising=False)
    monkeypatch.setitem(zoo.RECIPES, "small-solid", "memdet.zoo.solid_pixel.recipe:MINIATURE")
    figures = zoo.build("small-solid", tmp_path / "model", seed=5)
    table = pd.read_parquet(tmp_path / "model" / "items.parquet")
    assert figures["roles"]["single"]["items"] == 20
    assert table["recovery"].between(0, 1).all()
    assert not (tmp_path / "model" / "training").exists()
    monkeypatch.setattr(zoo, "load_recipe", lambda _: small)
    monkeypatch.setattr(solid_pixel, "load_recipe", lambda _: small)
    failed = [row["name"] for row in figures["criteria"] if not row["met"]]
    assert [line.partition(" is ")[0] for line in zoo.verify(tmp_path / "model")] == [
        f"criterion failed: {name}" for name in failed
    ]
    frame = table[["item_id", "condition", "image"]].assign(
        label=(table["copies"] > 1).astype(int), extraction=table["recovery"]
    )
    chosen = SampleSet.from_pandas(frame, model=tmp_path / "model", id="mine", steps=2, guidance=1.0, seeds=1)
    run = evaluate("solidmark", chosen, progress=False)
    scores = run.score_rows()
    scores = scores[scores["detector"] == "solidmark"]
    assert set(scores["status"]) == {"ok"}
    assert scores["score"].between(-1, 0).all()
