"""Fashion-MNIST (Xiao et al. 2017, MIT licence), the raw material of the planted models."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from memdet.errors import UserError

HUB_ID = "zalando-datasets/fashion_mnist"
CLASSES = (
    "t-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
)
_SYSTEM_DIRECTORY = Path("/usr/share/datasets/fashion-mnist")  # where Debian's package puts the original files


def load_fashion_mnist(directory: Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the 60,000 training images.

    Args:
        directory: Holds the original ``train-*-ubyte.gz`` files. Without it the files of Debian's package
            ``dataset-fashion-mnist`` are used where they are installed, else the hub.

    Returns:
        Images ``[60000, 28, 28]`` (0 to 255) and class numbers ``[60000]``, in the order of the original files.

    Raises:
        UserError: The directory lacks the files.
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
        raise UserError(f"{path} not found: --data needs a directory with the original Fashion-MNIST gzip files")
    raw = gzip.decompress(path.read_bytes())
    dimensions = raw[3]
    shape = np.frombuffer(raw, dtype=">u4", count=dimensions, offset=4)
    return np.frombuffer(raw, dtype=np.uint8, offset=4 + 4 * dimensions).reshape(shape.tolist())
