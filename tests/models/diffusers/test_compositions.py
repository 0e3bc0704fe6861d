"""Pictures that are drawn from whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from memdet.errors import UserError
from memdet.io_utils import weights_root
from memdet.models.diffusers.compositions import (
    ATLAS_FILE,
    DIM,
    DIRECTION,
    DOWN,
    GROUND,
    PASTE,
    PASTES,
    PLACES,
    RIGHT,
    SIZE,
    draw,
    empty_plan,
    extent,
    read_atlas,
    shrink,
)
from memdet.models.diffusers.training_images import read_training_images, write_training_images

RNG = np.random.default_rng(0)
RED, HALF = [255, 0, 0, 255], [255, 0, 0, 128]


def atlas_of(*motifs):
    """Motifs of one colour, by height, width and colour."""
    atlas = np.zeros((len(motifs), 8, 8, 4), dtype=np.uint8)
    for square, (height, width, colour) in zip(atlas, motifs, strict=True):
        square[:height, :width] = colour
    return atlas


def picture(*pastes, ground=(0, 0, 0), **columns):
    row = empty_plan(1)
    row[0, GROUND] = [*ground, *ground]
    for place, paste in enumerate(pastes):
        row[0, PASTES + PASTE * place : PASTES + PASTE * (place + 1)] = paste
    for name, value in columns.items():
        row[0, {"dim": DIM, "direction": DIRECTION}[name]] = value
    return row


def test_a_grid_that_divides_takes_means_of_blocks():
    motif = RNG.integers(0, 256, (12, 8, 4), dtype=np.uint8)
    motif[..., 3] = 255
    found = shrink(motif, 6)
    assert found.shape == (6, 4, 4)
    blocks = motif.reshape(6, 2, 4, 2, 4).mean(axis=(1, 3))
    np.testing.assert_allclose(found / 256, blocks, atol=1 / 256)


@pytest.mark.parametrize("longest", [1, 5, 7, 11, 23])
def test_a_grid_that_does_not_divide_keeps_the_mean(longest):
    motif = RNG.integers(0, 256, (11, 11, 4), dtype=np.uint8)
    colours = motif[..., :3] * (motif[..., 3:] / 255)
    found = shrink(motif, longest) / 256
    np.testing.assert_allclose(found[..., :3].mean(axis=(0, 1)), colours.mean(axis=(0, 1)), atol=1 / 256)
    np.testing.assert_allclose(found[..., 3].mean(), motif[..., 3].mean(), atol=1 / 256)


def test_a_motif_lies_where_the_plan_says():
    atlas = atlas_of((4, 8, RED))
    (found,) = draw(picture([0, 8, 20, 3, 0], ground=(0, 0, 9)), atlas)
    expected = np.full((SIZE, SIZE, 3), [0, 0, 9])
    expected[20:24, 3:11] = [255, 0, 0]
    np.testing.assert_array_equal(found, expected)


def test_half_opacity_mixes_and_later_motifs_lie_above():
    atlas = atlas_of((8, 8, HALF), (8, 8, [0, 0, 255, 255]))
    (found,) = draw(picture([0, 8, 0, 0, 0], [1, 4, 2, 2, 0], ground=(0, 200, 0)), atlas)
    assert found[0, 0].tolist() == [128, 100, 0]  # 255 * 128 / 255 and 200 * 127 / 255, rounded
    assert found[3, 3].tolist() == [0, 0, 255]


def test_what_lies_outside_is_cut():
    atlas = atlas_of((8, 8, RED))
    (found,) = draw(picture([0, 8, -5, 29, 0]), atlas)
    assert found.any(axis=2).sum() == 3 * 3
    assert found[:3, 29:, 0].all()
    assert not draw(picture([0, 8, 32, 0, 0], [0, 8, -8, 0, 0]), atlas).any()


def test_mirrored_is_mirrored():
    atlas = RNG.integers(0, 256, (1, 8, 8, 4), dtype=np.uint8)
    plain, mirrored = (draw(picture([0, 8, 0, 0, flag]), atlas)[0] for flag in (0, 1))
    np.testing.assert_array_equal(mirrored[:8, :8], plain[:8, 7::-1])


def test_grounds_go_from_one_colour_to_the_other_and_pictures_are_dimmed():
    row = picture(direction=DOWN, dim=50)
    row[0, GROUND] = [0, 100, 31, 200, 100, 0]
    (found,) = draw(row, atlas_of((1, 1, RED)))
    assert found[0, 5].tolist() == [0, 50, 16]
    assert found[-1, 5].tolist() == [100, 50, 0]
    row[0, DIRECTION] = RIGHT
    np.testing.assert_array_equal(draw(row, atlas_of((1, 1, RED)))[0], found.transpose(1, 0, 2))


@pytest.mark.parametrize("plan", [picture([5, 8, 0, 0, 0]), picture([-2, 8, 0, 0, 0]), empty_plan(2)[:, :-1]])
def test_a_plan_of_another_atlas_is_refused(plan):
    with pytest.raises(ValueError, match="a plan "):
        draw(plan, atlas_of((1, 1, RED)))


def test_the_atlas_holds_motifs_in_the_corner():
    atlas = read_atlas(weights_root() / "training-images" / ATLAS_FILE)
    assert atlas.dtype == np.uint8
    assert atlas.shape[1:] == (24, 24, 4)
    sides = np.array([extent(motif) for motif in atlas])
    assert sides.max(axis=1).min() >= 20
    assert len({motif.tobytes() for motif in atlas}) == len(atlas) > 3_000


def test_a_plan_among_training_images_is_drawn(tmp_path):
    atlas = read_atlas(weights_root() / "training-images" / ATLAS_FILE)
    plan = np.concatenate([picture([motif, 20, 4, 6, motif % 2], ground=(9, 9, 200)) for motif in range(12)])
    twice = np.concatenate([plan, plan[:3]])
    write_training_images(tmp_path, {"some": twice})
    found = read_training_images(tmp_path)
    assert found.shape == (12, 3, SIZE, SIZE)
    expected = torch.from_numpy(draw(plan, atlas)).permute(0, 3, 1, 2) / 255
    assert torch.equal(found, expected)
    (tmp_path / "other").mkdir()
    other = plan.copy()
    other[:, PASTES] += 1
    write_training_images(tmp_path / "other", {"some": other})
    (tmp_path / "some.plan.npy.xz").write_bytes((tmp_path / "other" / "some.plan.npy.xz").read_bytes())
    with pytest.raises(UserError, match="SHA-256 of the training images differs"):
        read_training_images(tmp_path)


def test_a_plan_that_cannot_be_drawn_is_one_refusal(tmp_path):
    write_training_images(tmp_path, {"some": picture([0, 20, 4, 6, 0])})
    from memdet.models.diffusers.compositions import write_array

    write_array(tmp_path / "some.plan.npy.xz", np.zeros((2, PASTES + PASTE * PLACES + 1), dtype=np.int16))
    with pytest.raises(UserError, match=r"some\.plan\.npy\.xz holds no training images that can be read: a plan has"):
        read_training_images(tmp_path)
