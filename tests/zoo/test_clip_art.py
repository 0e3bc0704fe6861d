"""Colour clip art: motifs, captions, and the draw that decides what is copied."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memdet.errors import UserError
from memdet.models.diffusers.compositions import GROUND, NO_MOTIF, PASTE, PASTES, SIZE, draw, extent
from memdet.zoo.clip_art import planting
from memdet.zoo.clip_art.atlas import Atlas, colour_of, load_atlas
from memdet.zoo.clip_art.package import DIRECTORY, SIDE, make_atlas, name_of, thumbnail
from memdet.zoo.clip_art.pictures import draw_pictures, vocabulary
from memdet.zoo.clip_art.planting import EXCHANGED, MORE, ROLES, plant
from memdet.zoo.tiny_sd.planting import Role

FILLER, VARIANTS = 20, 5
SMALL = {
    "verbatim": Role(4, 6),
    "single": Role(4, 1),
    "more-single": Role(3, 1),
    "copies-32": Role(2, 3),
    "template": Role(3, 2, VARIANTS),
    "narrow": Role(3, 1, VARIANTS),
    "several-3": Role(2, 6, 3),
    "unseen": Role(4, 0),
}
SWAP = MORE | {"verbatim": "single", "single": "verbatim"}


@pytest.fixture(scope="module")
def atlas():
    return load_atlas()


@pytest.fixture(scope="module")
def pictures(atlas):
    return draw_pictures(400, atlas, np.random.default_rng(3))


@pytest.fixture
def clip_art(atlas, monkeypatch):
    monkeypatch.setattr(planting, "FILLER", FILLER)
    return plant(atlas, seed=1, groups=SMALL)


def rows_of(planted, prompt):
    """Image index of each training row under ``prompt``."""
    if prompt not in planted.captions:
        return np.array([], dtype=int)
    return planted.image_of[planted.caption_of == planted.captions.index(prompt)]


def test_pictures_and_captions_are_distinct_and_the_same_every_time(atlas, pictures):
    assert len({caption.lower() for caption in pictures.captions}) == 400
    assert len({image.tobytes() for image in draw(pictures.plan, atlas.motifs)}) == 400
    again = draw_pictures(400, atlas, np.random.default_rng(3))
    assert again.captions == pictures.captions
    np.testing.assert_array_equal(again.plan, pictures.plan)


def test_captions_say_what_is_there(atlas, pictures):
    """Names, numbers and grounds, read back from the plan."""
    for row, caption in zip(pictures.plan, pictures.captions, strict=True):
        motifs = [motif for motif in row[PASTES::PASTE].tolist() if motif != NO_MOTIF]
        said = caption.lower()
        if len(set(motifs)) == len(motifs):
            assert all(atlas.names[motif] in said for motif in motifs)
        else:
            assert {2: "two ", 3: "three "}[len(motifs)] in said
        assert ("fading to" in said) == (row[GROUND][:3] != row[GROUND][3:]).any()


def test_motifs_stand_out_from_their_ground(atlas, pictures):
    for row in pictures.plan:
        for motif in row[PASTES::PASTE]:
            if motif != NO_MOTIF:
                apart = np.abs(row[GROUND].reshape(2, 3) - atlas.means[motif]).max(axis=1)
                assert apart.min() >= 56


def test_the_tokenizer_knows_every_word_of_every_caption(atlas, pictures):
    from memdet.zoo.clip_art.building import MAX_TOKENS
    from memdet.zoo.tiny_sd.recipe import make_tokenizer

    words = vocabulary(atlas)
    assert len(set(words)) == len(words)
    tokenizer = make_tokenizer(words, MAX_TOKENS)
    tokens = tokenizer(pictures.captions).input_ids
    assert max(len(row) for row in tokens) <= MAX_TOKENS
    assert tokenizer.unk_token_id not in {token for row in tokens for token in row}
    assert len({tuple(row) for row in tokens}) == 400
    longest = max(len(name.split()) for name in atlas.names)
    rest = "picture of ... above ... on pale orange fading to pale purple"  # ... a name, its colour and an article
    assert 2 + 2 * (longest + 2) + len(rest.replace("... ", "").split()) <= MAX_TOKENS


def test_the_training_set_holds_the_declared_copies(clip_art):
    planted, expected = clip_art.planted, Counter()
    for item in planted.items.itertuples():
        role = SMALL[item.role]
        assert (item.copies, item.variants) == (role.copies, role.variants)
        rows = rows_of(planted, item.prompt)
        assert sorted(Counter(rows.tolist()).values()) == [role.copies] * role.variants * (role.copies > 0)
        expected[item.role] += len(rows)
    assert sum(expected.values()) + FILLER == len(planted.image_of) == len(planted.caption_of)
    assert planted.items["role"].value_counts()["single"] == 7
    assert len({image.tobytes() for image in planted.images}) == len(planted.images)


def test_roles_show_what_they_say(clip_art, atlas):
    planted = clip_art.planted
    trained = {image.tobytes() for image in planted.images}
    for item, reference, own in zip(planted.items.itertuples(), planted.item_images, planted.own_images, strict=True):
        images = planted.images[np.unique(rows_of(planted, item.prompt))]
        if item.role in {"verbatim", "single", "copies-32"}:
            np.testing.assert_array_equal(images, reference[None])
        elif item.role == "unseen":
            assert reference.tobytes() not in trained
        elif item.role == "several-3":
            assert own[0].tobytes() == reference.tobytes()
            assert {image.tobytes() for image in own} == {image.tobytes() for image in images}
        elif item.role == "narrow":
            assert (images.max(axis=(1, 2, 3)) >= 0.58 * reference.max()).all()


def test_a_template_keeps_a_motif_where_its_region_says(clip_art, atlas):
    planted = clip_art.planted
    for item in planted.items.itertuples():
        if item.role != "template":
            assert item.region is None
            continue
        left, top, right, bottom = (round(edge * SIZE) for edge in item.region)
        variants = planted.images[np.unique(rows_of(planted, item.prompt))]
        row = clip_art.plan[rows_of(planted, item.prompt)[0]].copy()
        row[PASTES : PASTES + PASTE] = NO_MOTIF  # the other motif, which lies below
        drawn = []
        for colour in (0, 255):
            row[GROUND] = colour
            drawn.append(draw(row[None], atlas.motifs)[0])
        covered = (drawn[0] == drawn[1]).all(axis=2)  # whatever the ground
        inside = np.zeros_like(covered)
        inside[top:bottom, left:right] = True
        assert covered.any()
        assert not (covered & ~inside).any()
        assert (variants[:, covered] == drawn[0][covered]).all()
        assert len({variant[~inside].tobytes() for variant in variants}) == VARIANTS


def test_roles_are_drawn_after_pictures_and_captions(clip_art, atlas):
    other = plant(atlas, seed=2, groups=SMALL)
    tables = [one.planted.items.set_index("item_id") for one in (clip_art, other)]
    both = tables[0].join(tables[1].add_suffix("_other"), how="inner")
    assert (both["prompt"] == both["prompt_other"]).all()
    assert (both["role"] != both["role_other"]).any()
    assert set(tables[0].index) != set(tables[1].index)
    texts = [
        {*one.planted.captions, *one.planted.items.query("role == 'unseen'")["prompt"]} for one in (clip_art, other)
    ]
    assert texts[0] == texts[1]
    again = plant(atlas, seed=1, groups=SMALL)
    np.testing.assert_array_equal(again.plan, clip_art.plan)
    pd.testing.assert_frame_equal(again.planted.items, clip_art.planted.items)


def test_a_sister_exchanges_roles_and_nothing_else(clip_art, atlas):
    sister = plant(atlas, seed=1, groups=SMALL, swap=SWAP)
    before, after = clip_art.planted.items, sister.planted.items
    assert before["item_id"].tolist() == after["item_id"].tolist()
    assert before["split"].tolist() == after["split"].tolist()
    changed = before["role"] != after["role"]
    assert set(before["role"][changed]) == {"verbatim", "single"}
    assert changed.sum() == 8
    name = planting.FILLERS_FILE
    np.testing.assert_array_equal(clip_art.in_files("a")[name], sister.in_files("b")[name])


def test_exchanged_groups_are_of_one_size():
    named = {name: MORE.get(name, name) for name in ROLES}
    assert set(EXCHANGED) <= set(ROLES)
    for group, role in EXCHANGED.items():
        assert role == named[group] or ROLES[group].items == ROLES[role].items
    for swap in (MORE, EXCHANGED):
        counts = Counter()
        for name, group in ROLES.items():
            counts[swap.get(name, name)] += group.items
        assert counts["single"] >= 240
        assert counts["verbatim"] == 160
        assert min(counts[f"copies-{dose}"] for dose in (32, 64, 96, 128, 160, 192)) >= 80


def test_files_hold_all_and_each_once(clip_art):
    files = clip_art.in_files("mine")
    assert {name: len(plan) for name, plan in files.items()} == {
        planting.FILLERS_FILE: FILLER,
        "mine": len(clip_art.plan) - FILLER,
    }


def test_the_shipped_names_are_those_of_their_files():
    from memdet.models.diffusers.training_images import shipped_training_images
    from memdet.zoo.clip_art.atlas import NAMES_FILE

    table = pd.read_csv(shipped_training_images() / NAMES_FILE)
    assert len(table) == len(load_atlas().motifs)
    assert [name_of(file) for file in table["file"]] == table["name"].tolist()
    assert table["name"].str.fullmatch("[a-z]+( [a-z]+){0,2}").all()


@pytest.mark.skipif(not DIRECTORY.is_dir(), reason="Debian's openclipart-png is not installed")
def test_shipped_motifs_are_those_of_the_package(atlas):
    from memdet.models.diffusers.training_images import shipped_training_images
    from memdet.zoo.clip_art.atlas import NAMES_FILE

    files = pd.read_csv(shipped_training_images() / NAMES_FILE)["file"]
    for index in range(0, len(files), 400):
        np.testing.assert_array_equal(thumbnail(DIRECTORY / files[index]), atlas.motifs[index])


def test_without_the_package_one_refusal_says_which(tmp_path):
    with pytest.raises(UserError, match="install Debian's package openclipart-png"):
        make_atlas(tmp_path / "none")


def test_borders_are_cut_and_near_duplicates_and_blanks_left_out(tmp_path):
    """Five pictures of which one is new, one nearly the same, one plain, one a line and one of nothing."""
    folder = tmp_path / "food" / "fruit"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    apple = np.zeros((60, 80, 4), dtype=np.uint8)
    apple[10:40, 20:60] = [*rng.integers(0, 256, 3), 255]
    apple[15:25, 25:45, :3] = 255
    same, plain, line = apple.copy(), np.full((40, 40, 4), 128, dtype=np.uint8), np.zeros((40, 40, 4), dtype=np.uint8)
    same[30:33, 50:53, :3] += 3
    plain[..., 3] = 255
    line[20:24] = 255
    for name, pixels in {"apple": apple, "apples": same, "lemon": plain, "lime": line, "pear": line * 0}.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    table, motifs = make_atlas(tmp_path)
    assert table.to_dict("records") == [{"file": "food/fruit/apple.png", "name": "apple"}]
    assert motifs.shape == (1, SIDE, SIDE, 4)
    assert extent(motifs[0]) == (18, 24)
    assert (motifs[0, :18, :, 3] == 255).all()


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("signs_and_symbols/flags/africa/nigeria.png", "nigeria flag"),
        ("signs_and_symbols/flags/uk-guernsey_neil_turner_01.png", "flag"),
        ("animals/mammals/horses/cavallo_architetto_franc_05.png", "horse"),
        ("computer/icons/flat-theme/action/preverror.png", ""),
        ("animals/mammals/mhooo_peterm_.png", "animal"),
        ("shapes/arrows/arrow-left-red_benji_par_01.png", "red arrow"),
    ],
)
def test_names_leave_authors_and_numbers_out(file, name):
    assert name_of(file) == name


def test_a_colour_is_said_where_most_of_a_motif_has_it():
    motif = np.zeros((10, 10, 4), dtype=np.uint8)
    motif[..., 3] = 255
    motif[:7] = [220, 30, 20, 255]
    assert colour_of(motif) == "red"
    motif[3:7] = [20, 60, 200, 255]
    assert colour_of(motif) == ""
    assert Atlas(np.stack([motif, motif]), ["blue thing", "thing"]).colours == ["", ""]
