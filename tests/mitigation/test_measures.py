"""What is told of generations whose answers are known: copiers, generators that ignore the caption, equal samples."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch

from memdet.io_utils import png_bytes
from memdet.metrics import holm
from memdet.mitigating.generations import Generations, OfMitigation
from memdet.mitigating.measures import copied_share, diversity, front, measure
from memdet.mitigating.planted import References, Rule
from memdet.mitigating.text import Comparison, to_json, to_markdown, to_text
from memdet.models.garment_classifier import FEATURES
from memdet.models.garments import CLASSES, garment_of

THRESHOLD, SEEDS, ITEMS = 0.1, 4, 120


class Oracle:
    """Knows the class of a picture from its first pixel, and takes its second one for every feature."""

    takes = (1, 4, 4)

    def judge(self, images):
        numbers = (images[:, 0, 0, 0] * 255).round().long().tolist()
        return [CLASSES[number] for number in numbers], images[:, 0, 0, 1:2].double().expand(-1, FEATURES)


def made(label, classes, own, *, features=None, nearest=None, forwards=100.0, status="ok", message=""):
    """Generations that show some classes, ``[items, seeds]``, at some distances."""
    pictures = np.zeros((*classes.shape, 4, 4), dtype=np.uint8)
    pictures[..., 0, 0] = classes
    pictures[..., 0, 1] = 0 if features is None else features
    images = np.empty(classes.shape, dtype=object)
    for place in np.ndindex(classes.shape):
        images[place] = png_bytes(pictures[place])
    near = own if nearest is None else nearest
    return OfMitigation(label, status, message, own, near, images, forwards, 0.0, 0.0, 0.5)


def run_of(*mitigations, guidance=2.0):
    rng = np.random.default_rng(0)
    numbers = rng.integers(len(CLASSES), size=ITEMS)
    items = pd.DataFrame(
        {
            "item_id": [f"i{index}" for index in range(ITEMS)],
            "condition": [f"a plain {CLASSES[number]} on white" for number in numbers],
            "label": [index % 2 for index in range(ITEMS)],
            "cluster": [f"i{index}" for index in range(ITEMS)],
        }
    )
    rule = Rule(THRESHOLD, 50, 2.0)
    return Generations("mine", 50, guidance, rule, items, tuple(range(SEEDS)), mitigations), numbers


def standard():
    """None copies and is right; reseed copies half; one ignores the caption; one copies another item's image."""
    rng = np.random.default_rng(1)
    _, numbers = run_of()
    right = np.repeat(numbers[:, None], SEEDS, axis=1)
    chance = rng.integers(len(CLASSES), size=right.shape)
    far, near = np.full(right.shape, 0.5), np.full(right.shape, 0.02)
    half = np.where(rng.random(right.shape) < 0.5, 0.02, 0.5)
    shown = rng.integers(0, 256, size=right.shape)
    run, _ = run_of(
        made("none", right, near, features=shown),
        made("reseed", right, half, features=shown),
        made("ignores", chance, far, features=shown, forwards=110.0),
        made("lower-guidance", right, far, features=shown, nearest=near),
        made("broken", right, far, status="not-applicable", message="no null branch"),
    )
    return {row.label: row for row in measure(run, Oracle())}, run


def test_a_copier_is_found_in_every_generation_and_one_that_copies_others_only_there():
    rows, _ = standard()
    assert (rows["none"].copied.value, rows["none"].copied_any.value) == (1.0, 1.0)
    assert (rows["ignores"].copied.value, rows["ignores"].copied_any.value) == (0.0, 0.0)
    assert (rows["lower-guidance"].copied.value, rows["lower-guidance"].copied_any.value) == (0.0, 1.0)
    assert 0.35 < rows["reseed"].copied.value < 0.65


def test_captions_that_all_agree_leave_some_doubt():
    """Wilson's interval of 60 captions, and not a bootstrap's, whose ends would meet."""
    rows, _ = standard()
    for label, value in (("none", 1.0), ("ignores", 0.0)):
        found = rows[label].copied
        assert (found.low, found.high) == pytest.approx(
            sorted([value, abs(value - 1.96**2 / (60 + 1.96**2))]), abs=1e-3
        )


def test_a_distance_at_the_threshold_is_no_copy():
    assert copied_share(np.array([[0.0999, 0.1, 0.1001]]), 0.1).tolist() == [[1.0, 0.0, 0.0]]


def test_a_generator_that_ignores_the_caption_is_right_by_chance():
    rows, _ = standard()
    assert [rows["none"].faithful[kind].value for kind in ("memorized", "ordinary")] == [1.0, 1.0]
    share = np.mean([rows["ignores"].faithful[kind].value for kind in ("memorized", "ordinary")])
    assert abs(share - 0.1) < 4 * (0.1 * 0.9 / (ITEMS * SEEDS)) ** 0.5


def test_differences_from_both_controls_and_holm_over_all_of_them():
    rows, _ = standard()
    ignores = rows["ignores"]
    assert ignores.against["none"].interval.value == -1.0
    assert ignores.against["reseed"].interval.value == pytest.approx(-rows["reseed"].copied.value)
    assert "none" not in rows["none"].against
    assert rows["none"].adjusted is None
    tests = [(label, other) for label in ("ignores", "lower-guidance") for other in ("none", "reseed")]
    expected = holm([rows[label].against[other].p for label, other in tests])
    assert [rows[label].adjusted[other] for label, other in tests] == pytest.approx(expected.tolist())


def test_what_does_no_more_than_another_noise_is_marked():
    _, numbers = run_of()
    right, rng = np.repeat(numbers[:, None], SEEDS, axis=1), np.random.default_rng(2)

    def copying(share):
        return np.where(rng.random(right.shape) < share, 0.02, 0.5)

    run, _ = run_of(
        made("none", right, copying(1.0)),
        made("reseed", right, copying(0.5)),
        made("as lucky", right, copying(0.5)),
        made("worse", right, copying(0.9)),
        made("better", right, copying(0.1)),
    )
    rows = measure(run, Oracle())
    assert [row.beats_reseed for row in rows] == [None, None, False, False, True]
    lines = to_text(Comparison(run, rows)).splitlines()
    assert [line for line in lines if line.startswith(" ~ ")] == [
        line for line in lines if line[3:].startswith(("as lucky", "worse"))
    ]
    assert "| worse ~ |" in to_markdown(Comparison(run, rows))
    assert [row["beats_reseed"] for row in json.loads(to_json(Comparison(run, rows)))["mitigations"]][2:] == [
        False,
        False,
        True,
    ]


def test_of_pictures_in_colour_all_is_measured_that_needs_no_classifier():
    _, numbers = run_of()
    right = np.repeat(numbers[:, None], SEEDS, axis=1)
    rng = np.random.default_rng(4)

    def in_colour(label, own):
        one = made(label, right, np.full(right.shape, own))
        for place in np.ndindex(right.shape):
            one.images[place] = png_bytes(rng.integers(0, 256, size=(4, 4, 3), dtype=np.uint8))
        return one

    run, _ = run_of(in_colour("none", 0.02), in_colour("reseed", 0.5))
    none, reseed = measure(run, Oracle())
    assert (none.copied.value, reseed.copied.value) == (1.0, 0.0)
    assert (none.faithful, none.kernel, none.on_front) == ({}, None, False)
    # of two independent grey levels, each even over 256: the root of a sixth, about
    assert none.diverse["memorized"].value == pytest.approx(6**-0.5, abs=0.02)
    assert "classifier" in to_text(Comparison(run, [none, reseed]))


def test_equal_samples_are_no_distance_apart_and_others_are():
    rng = np.random.default_rng(3)
    _, numbers = run_of()
    right = np.repeat(numbers[:, None], SEEDS, axis=1)
    far = np.full(right.shape, 0.5)
    run, _ = run_of(
        made("none", right, far, features=rng.integers(0, 100, size=right.shape)),
        made("brighter", right, far, features=rng.integers(100, 200, size=right.shape)),
    )
    none, brighter = measure(run, Oracle())
    assert abs(none.kernel.value) < 3 * none.kernel.error
    assert brighter.kernel.value > 5 * brighter.kernel.error


def test_diversity_is_the_mean_distance_of_pairs():
    pictures = np.zeros((2, 3, 2, 2))
    pictures[1, 1], pictures[1, 2] = 0.5, 1.0  # distances .5, 1 and .5
    assert diversity(pictures).tolist() == pytest.approx([0.0, 2 / 3])
    rows, _ = standard()
    assert rows["none"].diverse["memorized"].value > 0


def test_what_was_not_made_is_not_measured():
    rows, _ = standard()
    broken = rows["broken"]
    assert (broken.status, broken.copied, broken.faithful, broken.on_front) == ("not-applicable", None, None, False)


def test_the_front():
    rows, _ = standard()
    assert [label for label, row in rows.items() if row.on_front] == ["lower-guidance"]
    assert front([(0.5, 0.5), (0.5, 0.5), (0.4, 0.4), (0.6, 0.4)]) == [True, True, True, False]


def test_tables_fit_a_terminal_and_name_everything():
    rows, run = standard()
    text = to_text(Comparison(run, list(rows.values())))
    assert max(map(len, text.splitlines())) <= 80
    for name in (*rows, "KID", "no null branch", "60 memorized captions", "4 noise seeds"):
        assert name in text
    assert "threshold was set" not in text
    page = to_markdown(Comparison(run, list(rows.values())))
    assert page.count("| lower-guidance") == 2


def test_another_protocol_than_that_of_the_threshold_is_told():
    _, numbers = run_of()
    right = np.repeat(numbers[:, None], SEEDS, axis=1)
    run, _ = run_of(made("none", right, np.full(right.shape, 0.5)), guidance=7.5)
    assert "guidance 2, where 1 %" in " ".join(to_text(Comparison(run, measure(run, Oracle()))).split())


def test_json_holds_all_numbers():
    rows, run = standard()
    content = json.loads(to_json(Comparison(run, list(rows.values()))))
    first = content["mitigations"][0]
    assert (first["label"], first["copied"]["value"], content["seeds"]) == ("none", 1.0, 4)
    assert first["kernel"].keys() == {"value", "error"}
    assert content["mitigations"][4]["copied"] is None


class Scaled:
    """Encodes pictures as pixel models do."""

    device = torch.device("cpu")

    def encode(self, images):
        return 2 * images - 1


def test_distances_to_own_and_to_any_image():
    """One item has two images; the nearest counts."""
    dark, grey, white = (np.full((4, 4), value, dtype=np.uint8) for value in (0, 102, 255))
    items = pd.DataFrame(
        {
            "item_id": ["a", "b"],
            "image": [png_bytes(dark), png_bytes(white)],
            "images": [[png_bytes(dark), png_bytes(grey)], None],
        }
    )
    known = References(Scaled(), items)
    latents = torch.stack([torch.full((1, 4, 4), value) for value in (-0.2, 1.0, 0.9)])
    own, nearest = known.distances(latents, ["a", "a", "b"])
    assert own == pytest.approx([0.0, 1.2, 0.1], abs=1e-6)
    assert nearest == pytest.approx([0.0, 0.0, 0.1], abs=1e-6)


@pytest.mark.parametrize(
    ("caption", "named"),
    [
        ("Alderon plain T-SHIRT on white A01", "t-shirt"),
        ("alderon plain shirt on white a01", "shirt"),
        ("Ullwater soft Ankle Boot for travel b99", "ankle boot"),
        ("a dress and a coat", None),
        ("bagpipe", None),
        ("", None),
    ],
)
def test_what_a_caption_names(caption, named):
    assert garment_of(caption) == named
