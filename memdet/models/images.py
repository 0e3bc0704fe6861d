"""Decoded pictures: from what a network gives to pixels; what is no number stays visible as none."""

from __future__ import annotations

import numpy as np
from torch import Tensor, nan

from memdet.io_utils import png_bytes


def in_unit_range(pixels: Tensor) -> Tensor:
    """Pixels from [-1, 1] to [0, 1], limited to it; one that is not finite becomes NaN.

    A clamp alone would draw an infinite pixel white or black.

    Example:
        >>> import torch
        >>> in_unit_range(torch.tensor([-1.0, 0.0, 3.0, float("inf")]))
        tensor([0.0000, 0.5000, 1.0000,    nan])
    """
    return (pixels / 2 + 0.5).clamp(0, 1).masked_fill(~pixels.isfinite(), nan)


def png_of(image: Tensor) -> bytes | None:
    """An image as PNG; None where a pixel is not finite, since it would have to be made up.

    Args:
        image: ``[channels, height, width]`` in [0, 1].
    """
    exact = image.detach().double().cpu()
    if not bool(exact.isfinite().all()):
        return None
    pixels = (exact.clamp(0, 1).numpy() * 255).round().astype(np.uint8)
    return png_bytes(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
