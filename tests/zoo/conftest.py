"""A miniature of the planted data set, drawn by the same code."""

from __future__ import annotations

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from memdet.zoo import fashion
from memdet.zoo.tiny_sd import planting
from tests.helpers.small_zoo import SMALL_FILLER, SMALL_ROLES


@pytest.fixture(autouse=True)
def one_thread():
    """The networks are tiny; on a busy machine threads that wait for each other cost far more than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def small_roles(monkeypatch):
    monkeypatch.setattr(planting, "ROLES", SMALL_ROLES)
    monkeypatch.setattr(planting, "FILLER", SMALL_FILLER)


@pytest.fixture(scope="session")
def small_source():
    """Images and class numbers in place of Fashion-MNIST's."""
    rng = np.random.default_rng(3)
    images = rng.integers(1, 256, size=(300, 28, 28), dtype=np.uint8)
    return images, np.arange(300) % 10


@pytest.fixture
def small_files(tmp_path, small_source, monkeypatch) -> Path:
    """The same images as the original gzip-compressed IDX files."""
    directory = tmp_path / "fashion"
    directory.mkdir()
    images, classes = small_source
    for name, array in (("images-idx3", images), ("labels-idx1", classes.astype(np.uint8))):
        header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
        path = directory / f"train-{name}-ubyte.gz"
        path.write_bytes(gzip.compress(header + array.tobytes()))
        monkeypatch.setitem(fashion.CHECKSUMS, path.name, hashlib.sha256(path.read_bytes()).hexdigest())
    return directory
