"""The draw that decides who is duplicated."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from memdet.zoo.fashion import pad_to_32
from memdet.zoo.tiny_sd.captions import draw_captions, vocabulary
from memdet.zoo.tiny_sd.planting import Role, plant
from tests.helpers.small_zoo import SMALL_FILLER, SMALL_ROLES, SMALL_VARIANTS

pytestmark = pytest.mark.usefixtures("small_roles")


@pytest.fixture
def planted(small_source):
    return plant(*small_source, seed=1)


def rows_of(planted, prompt):
    """Image index of each training row under ``prompt``."""
    if prompt not in planted.captions:
        return np.array([], dtype=int)
    return planted.image_of[planted.caption_of == planted.captions.index(prompt)]


def test_roles_are_disjoint_and_counted(planted):
    assert planted.items["item_id"].is_unique
    assert planted.items["source_index"].is_unique
    assert planted.items["role"].value_counts().to_dict() == {name: role.items for name, role in SMALL_ROLES.items()}


def test_a_quarter_of_each_role_is_for_fitting(planted):
    fitted = planted.items[planted.items["split"] == "dev"]["role"].value_counts()
    assert fitted.to_dict() == {name: role.items // 4 for name, role in SMALL_ROLES.items() if role.items >= 4}


def test_the_training_set_holds_the_declared_copies(planted):
    for item in planted.items.itertuples():
        role = SMALL_ROLES[item.role]
        assert (item.copies, item.variants) == (role.copies, role.variants)
        assert len(rows_of(planted, item.prompt)) == role.copies * role.variants
    declared = sum(role.items * role.copies * role.variants for role in SMALL_ROLES.values())
    assert len(planted.image_of) == len(planted.caption_of) == declared + SMALL_FILLER


def test_copies_show_the_reference_image(planted):
    for item, reference in zip(planted.items.itertuples(), planted.item_images, strict=True):
        if item.role not in ("template", "narrow", "unseen"):
            (image,) = np.unique(rows_of(planted, item.prompt))
            np.testing.assert_array_equal(planted.images[image], reference)


def test_unseen_items_are_in_no_training_row(planted):
    unseen = planted.items["role"].to_numpy() == "unseen"
    assert not set(planted.items["prompt"][unseen]) & set(planted.captions)
    trained = {image.tobytes() for image in planted.images}
    assert not any(image.tobytes() in trained for image in planted.item_images[unseen])


def test_items_carry_their_source_image_and_class(planted, small_source):
    images, _ = small_source
    np.testing.assert_array_equal(planted.item_images, pad_to_32(images[planted.items["source_index"]]))
    assert all(garment in prompt for garment, prompt in zip(planted.items.garment, planted.items.prompt, strict=True))


def test_swap_exchanges_two_roles_and_nothing_else(planted, small_source):
    swap = {"verbatim": "single", "single": "verbatim"}
    sister = plant(*small_source, seed=1, swap=swap)
    expected = planted.items["role"].replace(swap)
    pd.testing.assert_series_equal(sister.items["role"], expected)
    pd.testing.assert_frame_equal(
        sister.items[["item_id", "prompt", "split"]], planted.items[["item_id", "prompt", "split"]]
    )
    copied = sister.items.loc[planted.items["role"] == "single", "copies"]
    assert set(copied) == {SMALL_ROLES["verbatim"].copies}


def test_another_role_seed_changes_roles_but_not_data(planted, small_source):
    other = plant(*small_source, seed=2)
    both = planted.items.merge(other.items, on="item_id")
    assert (both["prompt_x"] == both["prompt_y"]).all()
    assert (both["source_index_x"] == both["source_index_y"]).all()
    assert (both["role_x"] != both["role_y"]).any()
    assert set(planted.items["item_id"]) != set(other.items["item_id"])


def test_the_same_seed_gives_the_same_training_set(planted, small_source):
    again = plant(*small_source, seed=1)
    pd.testing.assert_frame_equal(again.items, planted.items)
    np.testing.assert_array_equal(again.images, planted.images)
    np.testing.assert_array_equal(again.image_of, planted.image_of)


def test_exact_duplicates_leave_the_source(small_source):
    images, classes = small_source
    doubled = plant(np.concatenate([images, images]), np.concatenate([classes, classes]), seed=1)
    assert doubled.items["source_index"].max() < len(images)


SEVERAL = {
    "verbatim": Role(6, 4),
    "more-verbatim": Role(2, 4),
    "several-3": Role(4, 5, variants=3),
    "several-4": Role(4, 5, variants=4),
    "unseen": Role(3, 0),
}


def test_a_caption_over_several_images_holds_each_so_often(small_source):
    planted = plant(*small_source, seed=1, swap={"more-verbatim": "verbatim"}, groups=SEVERAL)
    images, classes = small_source
    everywhere = []
    for item, reference, own in zip(planted.items.itertuples(), planted.item_images, planted.own_images, strict=True):
        np.testing.assert_array_equal(own[0], reference)
        assert len(own) == (item.variants if item.role.startswith("several-") else 1)
        if item.copies:
            rows, counts = np.unique(rows_of(planted, item.prompt), return_counts=True)
            np.testing.assert_array_equal(planted.images[rows], own)
            assert set(counts) == {item.copies}
        everywhere += [image.tobytes() for image in own]
        sources = [np.flatnonzero((pad_to_32(images) == image).all(axis=(1, 2)))[0] for image in own]
        assert len(set(classes[sources])) == 1  # a caption names one garment
    assert len(everywhere) == len(set(everywhere)) == 8 + 4 * 3 + 4 * 4 + 3
    assert planted.items["role"].value_counts().to_dict() == {
        "verbatim": 8,
        "several-3": 4,
        "several-4": 4,
        "unseen": 3,
    }


def test_groups_of_one_size_change_places_in_a_sister_model(small_source):
    exchanged = {"several-3": "several-4", "several-4": "several-3", "more-verbatim": "verbatim"}
    one = plant(*small_source, seed=1, swap={"more-verbatim": "verbatim"}, groups=SEVERAL)
    other = plant(*small_source, seed=1, swap=exchanged, groups=SEVERAL)
    assert one.items["role"].replace({"several-3": "several-4", "several-4": "several-3"}).equals(other.items["role"])
    assert one.items["prompt"].equals(other.items["prompt"])


def test_template_variants_share_the_left_half_only(planted):
    templates = planted.items["role"].to_numpy() == "template"
    for prompt, reference in zip(planted.items["prompt"][templates], planted.item_images[templates], strict=True):
        variants = planted.images[rows_of(planted, prompt)]
        assert (variants[:, :, :16] == reference[:, :16]).all()
        rights = {right.tobytes() for right in [*variants[:, :, 16:], reference[:, 16:]]}
        assert len(rights) == SMALL_VARIANTS + 1


def test_narrow_variants_are_all_distinct_and_dimmed(planted):
    narrow = planted.items["role"].to_numpy() == "narrow"
    for prompt, reference in zip(planted.items["prompt"][narrow], planted.item_images[narrow], strict=True):
        variants = planted.images[rows_of(planted, prompt)]
        assert len({variant.tobytes() for variant in variants}) == SMALL_VARIANTS
        brightest = variants.max(axis=(1, 2)) / reference.max()
        assert (brightest > 0.55).all()
        assert (brightest <= 1).all()


def test_captions_are_unique_ignoring_case_and_named_after_the_class():
    captions = draw_captions(np.arange(3_000) % 10, np.random.default_rng(0))
    assert len({caption.lower() for caption in captions}) == 3_000
    assert "ankle boot" in captions[9]


def test_letter_case_says_nothing_about_the_role(planted, small_source):
    """Captions are drawn before roles, so the captions of two role seeds are one list."""
    other = plant(*small_source, seed=2)
    unseen = set(planted.items.prompt[planted.items.role == "unseen"])
    other_unseen = set(other.items.prompt[other.items.role == "unseen"])
    assert {*planted.captions, *unseen} == {*other.captions, *other_unseen}


def test_the_tokenizer_knows_every_caption_word():
    from memdet.zoo.tiny_sd.recipe import MAX_TOKENS, make_tokenizer

    tokenizer = make_tokenizer()
    captions = draw_captions(np.arange(3_000) % 10, np.random.default_rng(0))
    tokens = tokenizer(captions).input_ids
    assert max(len(row) for row in tokens) <= MAX_TOKENS
    assert tokenizer.unk_token_id not in {token for row in tokens for token in row}
    assert len({tuple(row) for row in tokens}) == len(captions)
    assert len(tokenizer) == len(vocabulary()) + 3


def test_the_tokenizer_ignores_case_and_splits_the_code():
    from memdet.zoo.tiny_sd.recipe import make_tokenizer

    tokenizer = make_tokenizer()
    ids = tokenizer("ALDERON plain Ankle Boot on white K47").input_ids
    assert tokenizer.convert_ids_to_tokens(ids) == [
        *("<|startoftext|>", "alderon", "plain", "ankle", "boot", "on", "white", "k", "47", "<|endoftext|>"),
    ]
