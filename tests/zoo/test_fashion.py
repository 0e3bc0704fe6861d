"""Reading Fashion-MNIST from its original files."""

from __future__ import annotations

import numpy as np
import pytest

from memdet.errors import UserError
from memdet.io_utils import pixels_of_png, png_bytes
from memdet.zoo.fashion import load_fashion_mnist, pad_to_32
from memdet.zoo.images import to_tensor


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent.*train-images-idx3-ubyte\.gz not found: `data` needs a directory"):
        load_fashion_mnist(tmp_path / "absent")


def test_original_files_are_read(small_files, small_source):
    images, classes = load_fashion_mnist(small_files)
    np.testing.assert_array_equal(images, small_source[0])
    np.testing.assert_array_equal(classes, small_source[1])
    assert classes.dtype == np.int64


@pytest.mark.parametrize("damage", [b"", b"not gzip", None])
def test_a_file_that_is_not_the_original_is_refused(small_files, damage):
    path = small_files / "train-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1] if damage is None else damage)
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte\.gz is not the original file \(SHA-256 [0-9a-f]{12}"):
        load_fashion_mnist(small_files)


def test_padding_is_black_and_centred():
    padded = pad_to_32(np.full((1, 28, 28), 7, dtype=np.uint8))
    assert padded.shape == (1, 32, 32)
    assert padded[0, 2:-2, 2:-2].min() == 7
    assert padded.sum() == 7 * 28 * 28


def test_png_loses_nothing(small_source):
    image = small_source[0][0]
    np.testing.assert_array_equal(pixels_of_png(png_bytes(image)), image)


def test_network_input_spans_minus_one_to_one():
    tensor = to_tensor(np.array([[[0, 255]]], dtype=np.uint8))
    assert tensor.tolist() == [[[[-1.0, 1.0]]]]
