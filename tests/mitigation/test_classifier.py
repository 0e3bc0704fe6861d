"""The classifier of garments that ships with memdet, what it was trained on, and how."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from memdet.errors import UserError
from memdet.io_utils import pixels_of_png, weights_root
from memdet.models.diffusers.training_images import read_training_images
from memdet.models.garment_classifier import NAME, GarmentClassifier
from memdet.models.garments import CLASSES
from memdet.zoo.garment_classifier import recipe


def test_it_knows_the_garments_of_images_that_it_was_not_trained_on():
    """The items of tiny-sd-a, of which the recipe keeps all out; its card promises .88 of ordinary ones."""
    items = pd.read_parquet(weights_root() / "tiny-sd-a" / "items.parquet")
    pictures = torch.from_numpy(np.stack([pixels_of_png(data) for data in items["image"]]))[:, None] / 255
    names, features = GarmentClassifier().judge(pictures)
    right = np.array(names) == items["garment"].to_numpy(str)
    assert right.mean() > 0.8
    assert features.shape == (len(items), 32)
    assert (features >= 0).all()


def test_the_card_holds_the_figures_and_the_weights_are_small():
    directory = weights_root() / NAME
    figures = json.loads((directory / recipe.FIGURES).read_text())
    assert figures["accuracy"] >= recipe.LEAST
    card = (directory / recipe.CARD).read_text()
    assert f"| all | {figures['accuracy']:.3f} |" in card
    assert set(figures["by_class"]) == set(CLASSES)
    assert sum(path.stat().st_size for path in directory.iterdir()) < 300_000


def test_it_takes_grey_pictures_of_its_size_alone():
    with pytest.raises(UserError, match=r"grey pictures of 32 x 32, not \[3, 32, 32\]"):
        GarmentClassifier().judge(torch.zeros(1, 3, 32, 32))


def test_damaged_weights_are_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="cannot be read"):
        GarmentClassifier(tmp_path)
    with pytest.raises(UserError, match="cannot be read"):
        GarmentClassifier(tmp_path / "missing")


def test_images_that_a_planted_model_has_seen_are_kept_out():
    known = (read_training_images(weights_root() / "tiny-sd-a")[:, 0] * 255).round().byte().numpy()
    inner = known[:, 2:-2, 2:-2]
    seen = inner[(np.pad(inner, ((0, 0), (2, 2), (2, 2))) == known).all(axis=(1, 2))][:20]  # padded, and not shifted
    rng = np.random.default_rng(0)
    new = rng.integers(1, 255, size=(3, 28, 28), dtype=np.uint8)
    half = new.copy()
    half[:, :, 14:] = seen[:3, :, 14:]  # the right half of a training image, as in a template
    found = recipe.unseen(np.concatenate([seen, new, half]), ("tiny-sd-a",))
    assert found.tolist() == [20, 21, 22]
    with pytest.raises(ValueError, match="fashion-pixel knows pictures of"):
        recipe.unseen(new, ("fashion-pixel",))


@pytest.mark.slow
def test_a_miniature_of_the_recipe(tmp_path, monkeypatch):
    """Bright and dark pictures are soon told apart; the written weights are those that are judged."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    images = (rng.integers(0, 60, size=(400, 28, 28)) + 180 * labels[:, None, None]).astype(np.uint8)
    monkeypatch.setattr(recipe, "load_fashion_mnist", lambda data: (images, labels))
    monkeypatch.setattr(recipe, "unseen", lambda images: np.arange(len(images)))
    figures = recipe.build(tmp_path, recipe=recipe.Recipe(steps=60, batch=32))
    assert (figures["trained"], figures["held"]) == (300, 100)
    assert figures["accuracy"] > 0.95
    assert {path.name for path in tmp_path.iterdir()} == {recipe.CARD, recipe.FIGURES, "model.safetensors"}
