"""Fashion-MNIST (Xiao et al. 2017, MIT licence), the raw material of the planted models."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memdet.errors import UserError
from memdet.models.garments import CLASSES as CLASSES

HUB_ID = "zalando-datasets/fashion_mnist"
CHECKSUMS = {  # SHA-256 of the original files
    "train-images-idx3-ubyte.gz": "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
    "train-labels-idx1-ubyte.gz": "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
}
_SYSTEM_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts the original files


def load_fashion_mnist(directory: Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the 60,000 training images.

    Args:
        directory: Holds the original ``train-*-ubyte.gz`` files. Without it the files of Debian's package
            ``dataset-fashion-mnist`` are used where they are installed, else the hub.

    Returns:
        Images ``[60000, 28, 28]`` (0 to 255) and class numbers ``[60000]``, in the order of the original files.

    Raises:
        UserError: The directory lacks the files, or they are not the original ones.
    """
    if directory is None and _SYSTEM_DIRECTORY.is_dir():
        directory = _SYSTEM_DIRECTORY
    if directory is not None:
        images = _read_idx(directory / "train-images-idx3-ubyte.gz")
        labels = _read_idx(directory / "train-labels-idx1-ubyte.gz")
        return images, labels.astype(np.int64)
    import datasets

    rows = datasets.load_dataset(HUB_ID, split="train").with_format("numpy")
    return np.asarray(rows["image"], dtype=np.uint8), np.asarray(rows["label"], dtype=np.int64)


def pad_to_32(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad ``[n, 28, 28]`` images with black to ``[n, 32, 32]``."""
    return np.pad(images, ((0, 0), (2, 2), (2, 2)))


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read one gzip-compressed IDX file of unsigned bytes."""
    if not path.is_file():
        raise UserError(
            f"{path} not found: `data` needs a directory with the original Fashion-MNIST gzip files",
            parameters=("data",),
        )
    packed = path.read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if found != CHECKSUMS[path.name]:
        raise UserError(f"{path} is not the original file (SHA-256 {found[:12]}...): fetch it again")
    raw = gzip.decompress(packed)
    dimensions = raw[3]
    shape = np.frombuffer(raw, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape.tolist())
