"""All training images of a model, and what says that they are all."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from memdet.errors import NotApplicableError, UserError
from memdet.io_utils import pixels_of_png, png_bytes, weights_root
from memdet.models import load_model
from memdet.models.diffusers.training_images import (
    read_training_images,
    training_images_digest,
    write_training_images,
)
from memdet.zoo.fashion import _SYSTEM_DIRECTORY, load_fashion_mnist
from memdet.zoo.fashion_pixel.recipe import FASHION_MULTI, FASHION_PIXEL
from memdet.zoo.tiny_sd.planting import FILLER, ROLES, plant
from memdet.zoo.tiny_sd.recipe import TINY_SD_A, TINY_SD_B

GREY = np.random.default_rng(0).integers(0, 256, (7, 4, 5), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)


def say(directory, **content):
    (directory / "training.json").write_text(json.dumps({"complete": True, **content}))


def save_table(directory, name, images, **columns):
    pd.DataFrame({"image": [png_bytes(image) for image in images], **columns}).to_parquet(directory / name)


def bytes_of(images):
    return {row.tobytes() for row in (images * 255).round().byte().numpy()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-sd-a", "tiny-sd-b"])
def test_every_image_of_every_caption_is_there(name):
    """Counted from the recipe: distinct images, whatever the number of copies."""
    images = read_training_images(weights_root() / name)
    trained = sum(role.items * role.variants for role in ROLES.values() if role.copies)
    assert images.shape == (trained + FILLER, 1, 32, 32) == (36_740, 1, 32, 32)
    known = bytes_of(images)
    assert len(known) == len(images)
    items = pd.read_parquet(weights_root() / name / "items.parquet")
    for item in items.itertuples():
        reference = pixels_of_png(item.image)
        if item.role in {"verbatim", "single", "copies-4", "copies-16", "copies-64"}:
            assert reference.tobytes() in known
        elif item.role in {"unseen", "template"}:
            assert reference.tobytes() not in known
    pixels = (images[:, 0] * 255).round().byte().numpy()
    halves = pixels[:, :, :16].reshape(len(pixels), -1)
    for item in items[items["role"] == "template"].itertuples():
        left = pixels_of_png(item.image)[:, :16].ravel()
        assert (halves == left).all(axis=1).sum() == 128


@pytest.mark.parametrize(
    ("name", "count"), [("fashion-multi", 20 * (1 + 3 + 10 + 1_000) + 12 * 10), ("fashion-pixel", 1 + 3_000)]
)
def test_every_image_of_every_label_is_there(name, count):
    images = read_training_images(weights_root() / name)
    assert images.shape == (count, 1, 16, 16)
    kept = pd.read_parquet(weights_root() / name / "images.parquet")["image"]
    assert {pixels_of_png(image).tobytes() for image in kept} <= bytes_of(images)


@pytest.mark.slow
@pytest.mark.skipif(not _SYSTEM_DIRECTORY.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
@pytest.mark.parametrize("recipe", [TINY_SD_A, TINY_SD_B, FASHION_MULTI, FASHION_PIXEL], ids=lambda r: r.name)
def test_the_recipe_gives_the_images_that_ship(recipe):
    if isinstance(recipe, type(TINY_SD_A)):
        planted = plant(*load_fashion_mnist(), seed=recipe.role_seed, swap=recipe.swap)
    else:
        planted = recipe.draw(None)
    made = {image.tobytes() for image in planted.images}
    assert made == bytes_of(read_training_images(weights_root() / recipe.name)[:, 0])


def test_what_is_written_is_read(tmp_path):
    write_training_images(tmp_path, {"one": GREY[:4], "two": GREY[3:]})
    found = read_training_images(tmp_path)
    assert json.loads((tmp_path / "training.json").read_text())["count"] == 7
    torch.testing.assert_close(found[:, 0], torch.from_numpy(GREY / 255).float())


def test_formats(tmp_path):
    save_table(tmp_path, "mine.parquet", GREY, copies=[1, 0, 2, 3, 1, 1, 1])
    say(tmp_path, files=["mine.parquet"])
    expected = torch.from_numpy(np.delete(GREY, 1, axis=0) / 255).float()
    torch.testing.assert_close(read_training_images(tmp_path)[:, 0], expected)
    np.save(tmp_path / "colour.npy", COLOUR)
    say(tmp_path, files=["colour.npy"], count=3)
    torch.testing.assert_close(
        read_training_images(tmp_path), torch.from_numpy(COLOUR / 255).permute(0, 3, 1, 2).float()
    )


def test_an_image_counts_once(tmp_path):
    np.save(tmp_path / "a.npy", GREY[[2, 0, 2, 0, 1]])
    say(tmp_path, files=["a.npy"], count=3)
    torch.testing.assert_close(read_training_images(tmp_path)[:, 0], torch.from_numpy(GREY[[2, 0, 1]] / 255).float())


@pytest.mark.parametrize("table", ["images.parquet", "items.parquet"])
def test_images_that_may_be_some_of_many_are_no_bank(tmp_path, table):
    save_table(tmp_path, table, GREY)
    with pytest.raises(NotApplicableError, match=rf'nothing says that .*{table} holds all .*"files": \["{table}"\]'):
        read_training_images(tmp_path)
    say(tmp_path, files=[table])
    assert len(read_training_images(tmp_path)) == 7
    say(tmp_path, complete=False, files=[table])
    with pytest.raises(NotApplicableError, match="are not all"):
        read_training_images(tmp_path)


def test_no_images(tmp_path):
    with pytest.raises(NotApplicableError, match="no training images lie beside the weights"):
        read_training_images(tmp_path)
    say(tmp_path, files=["absent.npy"])
    with pytest.raises(NotApplicableError, match=r"absent\.npy is missing, which .*training\.json names"):
        read_training_images(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["[", "[]", "{}", '{"complete": true}', '{"complete": true, "files": []}', '{"complete": 1, "files": ["a.npy"]}']
    + ['{"complete": true, "files": ["../a.npy"]}', '{"complete": true, "files": ["a.npy"], "cuont": 3}'],
)
def test_a_description_that_says_something_else(tmp_path, content):
    np.save(tmp_path / "a.npy", GREY)
    (tmp_path / "training.json").write_text(content)
    with pytest.raises(UserError, match=r"training\.json"):
        read_training_images(tmp_path)


@pytest.mark.parametrize("wrong", [{"count": 6}, {"sha256": "0" * 64}])
def test_images_that_are_not_those_described(tmp_path, wrong):
    np.save(tmp_path / "a.npy", GREY)
    say(tmp_path, files=["a.npy"], **wrong)
    with pytest.raises(UserError, match=r"training\.json.*(6 distinct training images, its files hold 7|differs)"):
        read_training_images(tmp_path)


@pytest.mark.parametrize("broken", [b"", b"no array", np.float32])
def test_files_that_hold_no_images(tmp_path, broken):
    if isinstance(broken, bytes):
        (tmp_path / "a.npy").write_bytes(broken)
    else:
        np.save(tmp_path / "a.npy", GREY.astype(broken))
    say(tmp_path, files=["a.npy"])
    with pytest.raises(UserError, match=r"a\.npy"):
        read_training_images(tmp_path)


def test_other_training_images_are_another_run(tmp_path):
    """Oracles compare with them, so the identity of a run must change with them; no prediction does."""
    directory = tmp_path / "model"
    shutil.copytree(weights_root() / "fashion-pixel", directory)
    shipped, before = (load_model(one).files()["training images"] for one in ("fashion-pixel", directory))
    assert before == shipped  # the files that ship are found from a copy too
    np.save(directory / "mine.npy", GREY)
    say(directory, files=["mine.npy"])
    described = load_model(directory).files()["training images"]
    np.save(directory / "mine.npy", GREY[:3])
    assert len({before, described, load_model(directory).files()["training images"]}) == 3
    assert load_model(directory).fingerprint() == load_model("fashion-pixel").fingerprint()
    (directory / "training.json").unlink()
    assert training_images_digest(directory) == ""
