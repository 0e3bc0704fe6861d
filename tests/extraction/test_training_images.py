"""Training images at a model's size."""

import numpy as np
import pytest
from PIL import Image

from memdet.errors import UserError
from memdet.extraction import Size, open_folder, read_images
from memdet.extraction.training_images import compared


@pytest.fixture
def root(tmp_path):
    path = tmp_path / "train"
    path.mkdir()
    return path


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_an_image_of_the_size_stays_as_it_is(root):
    pixels = noise(16, 12, 3)
    Image.fromarray(pixels).save(root / "a.png")
    found = read_images(open_folder(root), Size(12, 16, 3))
    assert (found.pixels == pixels.transpose(2, 0, 1)[None]).all()
    assert found.notes == ()


@pytest.mark.parametrize(("width", "height"), [(48, 24), (24, 48), (8, 20)])
def test_another_shape_is_resized_by_its_shorter_side_and_cropped_at_the_centre(root, width, height):
    """Smooth pictures, on which resizing the crop and cropping the resized picture agree."""
    y, x = np.mgrid[:height, :width]
    pixels = (128 + 60 * np.sin(x / width * 5) + 60 * np.cos(y / height * 4)).astype(np.uint8)
    Image.fromarray(pixels).save(root / "a.png")
    found = read_images(open_folder(root), Size(16, 16, 1))
    scale = 16 / min(width, height)
    resized = Image.fromarray(pixels).resize((round(width * scale), round(height * scale)), Image.Resampling.BILINEAR)
    left, top = (resized.width - 16) // 2, (resized.height - 16) // 2
    expected = np.asarray(resized.crop((left, top, left + 16, top + 16)), dtype=float)
    assert np.abs(found.pixels[0, 0] - expected).max() <= 3
    told = " ".join(found.notes)
    assert "1 training image resized to the model's 16 x 16" in told
    assert "cropped at the centre: a.png" in told


def test_one_picture_in_two_files_counts_once(root):
    for name, seed in (("a.png", 0), ("b.png", 1), ("c.png", 0)):
        Image.fromarray(noise(8, 8, seed=seed)).save(root / name)
    shown = []
    found = read_images(open_folder(root), Size(8, 8, 1), shown.extend, at_once=1)
    assert [file.name for file in found.files] == ["a.png", "b.png"]
    assert len(shown) == len(found.pixels) == 2
    assert "counted once: c.png" in found.notes[0]


def test_a_turned_photograph_is_set_upright(root):
    pixels = noise(8, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(pixels).save(root / "a.png", exif=exif)
    found = read_images(open_folder(root), Size(8, 8, 1))
    assert (found.pixels[0, 0] == np.rot90(pixels, -1)).all()


def test_grey_files_of_a_model_of_colour_are_said(root):
    Image.fromarray(noise(8, 8)).save(root / "a.png")
    found = read_images(open_folder(root), Size(8, 8, 3))
    assert (found.pixels[0] == found.pixels[0, :1]).all()
    assert "1 training image grey, where the model makes colour" in found.notes[0]


def test_grey_in_three_channels_is_grey(root):
    Image.fromarray(np.repeat(noise(8, 8)[..., None], 3, axis=2)).save(root / "a.png")
    assert read_images(open_folder(root), Size(8, 8, 1)).notes == ()


def test_colour_before_a_grey_model_is_refused(root):
    Image.fromarray(noise(8, 8, 3)).save(root / "a.png")
    with pytest.raises(UserError, match=r"makes grey images, and 1 of 1 training images are in colour .*a.png"):
        read_images(open_folder(root), Size(8, 8, 1))


def test_transparency_is_dropped_and_said(root):
    Image.fromarray(noise(8, 8, 4)).save(root / "a.png")
    assert "with transparency" in read_images(open_folder(root), Size(8, 8, 3)).notes[0]


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_an_unreadable_image_is_named(root, content):
    Image.fromarray(noise(64, 64)).save(root / "a.png")
    if content is None:
        content = (root / "a.png").read_bytes()[:200]
    (root / "b.png").write_bytes(content)
    with pytest.raises(UserError, match=r"b\.png holds no image that can be read") as error:
        read_images(open_folder(root), Size(8, 8, 1))
    assert "\n" not in str(error.value)


def test_sixteen_bits_are_refused(root):
    Image.fromarray(noise(8, 8).astype(np.uint16) * 200).save(root / "a.png")
    with pytest.raises(UserError, match=r"a\.png has more than 8 bits"):
        read_images(open_folder(root), Size(8, 8, 1))


def test_large_images_are_compared_as_means_of_their_blocks():
    size = Size(128, 256, 3)
    image = noise(3, 256, 128)
    found = compared(image, size)
    assert found.shape == (3, 64, 32)
    assert np.abs(found - image.reshape(3, 64, 4, 32, 4).mean(axis=(2, 4))).max() <= 1
