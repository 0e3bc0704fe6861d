"""Images as PNG bytes, as arrays and as network input."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Compress one grey image ``[h, w]`` without loss."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """Read one grey image back."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Scale ``[n, h, w]`` bytes to float32 ``[n, 1, h, w]`` in [-1, 1]."""
    return torch.from_numpy(images.astype(np.float32))[:, None] / 127.5 - 1
