"""Pictures of a sample set: which PNGs are read, and which would be read wrong."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memdet.samplesets import SampleSet


def frame(*pictures: bytes) -> pd.DataFrame:
    """Two items, with these pictures or one."""
    return pd.DataFrame({"prompt": ["a", "b"], "label": [1, 0], "image": [pictures[0], pictures[-1]]})


def picture(mode: str, pixels: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(np.array(pixels))
    image = image if image.mode == mode else image.convert(mode)
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


def paletted(**options: Any) -> bytes:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 51, 0, 0, 255])
    image.putpixel((1, 0), 1)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    return buffer.getvalue()


RED, BLUE = [1.0, -1.0, -0.6], [-1.0, -1.0, 1.0]
GREY, COLOUR = np.uint8([[0, 255]]), np.uint8([[[255, 0, 51], [0, 0, 255]]])


@pytest.mark.parametrize(
    ("data", "channels"),
    [
        (picture("L", GREY), [[-1.0, 1.0]]),
        (picture("1", GREY), [[-1.0, 1.0]]),
        (picture("RGB", COLOUR), [list(pair) for pair in zip(RED, BLUE, strict=True)]),
        (paletted(), [list(pair) for pair in zip(RED, BLUE, strict=True)]),
    ],
)
def test_a_png_of_each_kind_is_read(data: bytes, channels: list[list[float]]):
    (image, *_) = SampleSet.from_pandas(frame(data)).items["image"]
    assert image.dtype == np.float32
    assert image[:, 0].tolist() == [pytest.approx(row) for row in channels]


def deep_colour() -> bytes:
    """A PNG of 16 bits a channel in colour, of which Pillow would give half the bits without a word."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" + struct.pack(">HHH", 50_000, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


DEEP, CLEAR = (
    "holds a PNG image of 16 bits a channel; write it with 8 bits",
    "write it without transparency, with Pillow",
)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (picture("I;16", np.uint16([[50_000]])), DEEP),
        (deep_colour(), DEEP),
        (picture("RGBA", COLOUR), f"holds an image of mode RGBA that is no plain grey or colour; {CLEAR}"),
        (picture("LA", GREY), f"of mode LA that is no plain grey or colour; {CLEAR}"),
        (paletted(transparency=0), f"of mode P that is no plain grey or colour; {CLEAR}"),
        (picture("RGB", COLOUR)[:45], "holds no PNG image"),
    ],
    ids=["deep-grey", "deep-colour", "rgba", "la", "palette", "cut"],
)
def test_a_png_that_would_be_read_wrong_is_refused(data: bytes, words: str, refused: Callable[..., str]):
    good = picture("L", GREY)
    refused(lambda: SampleSet.from_pandas(frame(good, data)), "row 2: image", words)
