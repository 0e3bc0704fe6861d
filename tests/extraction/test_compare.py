"""Generations against training images, on planted copies: no model is asked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from memdet.errors import NotApplicableError, UserError
from memdet.extraction import Embedded, Size, compare, open_folder, read_images
from memdet.extraction.rule import neighbours_of, ratios, rule_of

SIZE = Size(8, 8, 1)


@pytest.fixture
def no_sscd(monkeypatch):
    def missing(images, *, kept=False):
        raise NotApplicableError("SSCD needs a package")

    monkeypatch.setattr(Embedded, "of", staticmethod(missing))


@pytest.fixture
def planted(tmp_path):
    """60 training images of noise; gives the bank and a function that writes a generation."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (60, 8, 8), dtype=np.uint8)
    (tmp_path / "train").mkdir()
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(tmp_path / "train" / f"{index:02d}.png")

    def generation(name, image):
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(tmp_path / name)
        return Path(name)

    return tmp_path, pixels, generation, rng


def read(root):
    embedded = Embedded()
    return read_images(open_folder(root / "train"), SIZE, embedded.add), embedded


def test_copies_are_found_with_the_image_that_they_copy(planted, no_sscd):
    root, pixels, generation, rng = planted
    copied = [generation(f"c{s}.png", pixels[7] + rng.normal(0, 8, (8, 8))) for s in range(3)]
    fresh = [generation(f"f{s}.png", rng.integers(0, 256, (8, 8))) for s in range(3)]
    found = compare(*read(root), [copied, [copied[0], fresh[0], None], fresh], [], root)
    assert [(one.copied, one.drawn) for one in found.prompts] == [(3, 3), (1, 2), (0, 3)]
    assert {match.nearest for match in found.prompts[0].matches} == {"07.png"}
    assert found.prompts[1].matches[2].copied is None
    assert found.prompts[1].closest.seed == 0
    with Image.open(root / "c0.png") as stored:
        difference = (np.asarray(stored, dtype=float) - pixels[7]) / 255
    assert found.prompts[0].matches[0].distance == pytest.approx(np.sqrt(np.square(difference).mean()))
    assert (found.rule.kind, found.rule.threshold, found.rule.neighbours) == ("ratio", 0.5, 50)
    assert found.rule.alike == 0
    assert found.sscd.status == "not installed"


def test_the_threshold_lets_the_stated_share_of_the_reference_pass(planted, no_sscd):
    root, _, generation, rng = planted
    reference = [[generation(f"r{p}-{s}.png", rng.integers(0, 256, (8, 8))) for s in range(5)] for p in range(40)]
    found = compare(*read(root), reference, reference, root)
    assert (found.rule.kind, found.rule.reference_generations, found.rule.reference_prompts) == ("reference", 200, 40)
    passed = sorted(match.ratio for one in found.prompts for match in one.matches)
    assert found.rule.threshold == passed[1]  # two of 201 are one percent
    assert sum(one.copied for one in found.prompts) == 1  # a threshold is not below itself


def test_few_training_images_take_all(planted, no_sscd):
    root, pixels, generation, _ = planted
    for path in sorted((root / "train").iterdir())[5:]:
        path.unlink()
    found = compare(*read(root), [[generation("c.png", pixels[0])]], [], root)
    assert found.rule.neighbours == 5
    assert found.prompts[0].closest.ratio == 0


def test_one_training_image_is_beside_no_other():
    with pytest.raises(UserError, match="1 distinct image"):
        neighbours_of(1)


def test_the_ratio_is_that_of_the_oracle_calibrated_l2():
    """Its score is minus the distance over half the mean of the 50 nearest."""
    distances = np.sort(np.random.default_rng(1).random((4, 50)), axis=1)
    score = -distances[:, 0] / (0.5 * distances.mean(axis=1))
    assert ratios(distances) == pytest.approx(-score / 2)


def test_the_expected_share_of_false_copies_is_realised_on_average():
    """Of ratios that are uniform between 0 and 1, a threshold lets just its own share pass."""
    rng = np.random.default_rng(2)
    rules = [rule_of(100, rng.random(150), 150, np.ones(100)) for _ in range(2_000)]
    expected = rules[0].false_copies
    assert expected.value == pytest.approx(1 / 151)
    realised = np.array([rule.threshold for rule in rules])
    assert realised.mean() == pytest.approx(1 / 151, rel=0.1)
    assert np.mean((realised >= expected.low) & (realised <= expected.high)) == pytest.approx(0.95, abs=0.02)


def test_generations_of_one_prompt_make_the_interval_no_narrower_than_one_draw():
    few = rule_of(100, np.linspace(0.5, 1, 400), 50, np.ones(100)).false_copies
    many = rule_of(100, np.linspace(0.5, 1, 400), 400, np.ones(100)).false_copies
    assert few.value == many.value
    assert few.high > many.high


def embedding(images, *, kept=False):
    """Unit vectors of the pixels less their mean: alike where the pictures are."""
    flat = np.stack(images).reshape(len(images), -1).astype(float)
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def test_sscd_is_shown_where_it_tells_training_images_apart(planted, monkeypatch):
    root, pixels, generation, rng = planted
    monkeypatch.setattr(Embedded, "of", staticmethod(embedding))
    copy = generation("c.png", 255 - (255 - pixels[3].astype(float)) * 0.5)  # paler: far in pixels, alike in shape
    found = compare(*read(root), [[copy]], [], root)
    (match,) = found.prompts[0].matches
    assert found.sscd.status == "valid"
    assert (match.most_similar, match.copied) == ("03.png", False)
    assert match.sscd > 0.99


@pytest.mark.parametrize("among", ["training images", "reference"])
def test_sscd_that_takes_everything_for_alike_is_not_shown(planted, monkeypatch, among):
    root, pixels, generation, rng = planted
    monkeypatch.setattr(Embedded, "of", staticmethod(embedding))
    reference = []
    if among == "reference":
        reference = [[generation(f"r{p}.png", pixels[p] + rng.normal(0, 30, (8, 8)))] for p in range(4)]
    else:
        for index in range(60):
            Image.fromarray((pixels[0] // 2 + pixels[index] // 8).astype(np.uint8)).save(
                root / f"train/{index:02d}.png"
            )
    found = compare(*read(root), [[generation("c.png", pixels[3])]], reference, root)
    assert found.sscd.status == "not valid"
    assert found.prompts[0].matches[0].sscd is None


def test_a_damaged_generation_is_named(planted, no_sscd):
    root, *_ = planted
    (root / "c.png").write_bytes(b"half")
    with pytest.raises(UserError, match=r"c\.png cannot be read .*made again"):
        compare(*read(root), [[Path("c.png")]], [], root)
