"""A disk that fails ends a run with one line; what is done is kept."""

import errno
import os

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from memdet.errors import UserError
from memdet.io_utils import png_bytes
from memdet.results.images import read_images
from tests.faults.conftest import UNITS_DONE, resume
from tests.faults.flip import made_run


def left_behind(directory):
    return [path.name for path in directory.rglob(".*")]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_writing_fails(number, after, begun, undisturbed, monkeypatch):
    """At the last shard, at the items or at the scores: after as many tables."""
    real, calls = pq.ParquetWriter.write_table, []

    def fail(self, *arguments, **options):
        calls.append(1)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return real(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", fail)
        with pytest.raises(UserError) as caught:
            resume(begun)
    told = str(caught.value)
    assert os.strerror(number) in told
    assert "what is done is kept" in told
    assert "\n" not in told
    assert left_behind(begun) == []
    assert len(list((begun / "shards").iterdir())) >= UNITS_DONE
    resume(begun)
    assert (begun / "scores.parquet").read_bytes() == undisturbed


@pytest.mark.parametrize("name", ["run.json", "scores.parquet", "items.parquet"])
def test_renaming_fails(name, begun, undisturbed, monkeypatch):
    real = os.replace

    def fail(source, target):
        if os.path.basename(target) == name and len(list((begun / "shards").glob("*.parquet"))) > UNITS_DONE:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(target))
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(UserError, match=f"{name} cannot be written or read .Input/output error.: what is done is"):
            resume(begun)
    assert left_behind(begun) == []
    resume(begun)
    assert (begun / "scores.parquet").read_bytes() == undisturbed


def test_a_shard_that_is_damaged_before_it_is_joined(begun, undisturbed, monkeypatch):
    """It was whole when the run looked, and is not when all are joined."""
    from memdet.results import sinks

    file, real = sorted((begun / "shards").iterdir())[0], sinks.write_tables

    def damage_first(tables, schema, path):
        file.write_bytes(b"")
        real(tables, schema, path)

    with monkeypatch.context() as patch:
        patch.setattr(sinks, "write_tables", damage_first)
        with pytest.raises(UserError, match=f"{file.name} was damaged since it was written .*same command computes it"):
            resume(begun)
    resume(begun)
    assert (begun / "scores.parquet").read_bytes() == undisturbed
    assert [path.name for path in (begun / "damaged").iterdir()] == [file.name]


@pytest.mark.parametrize("size", [0, 20, 60])
def test_a_picture_that_cannot_be_read_is_named(size, tmp_path):
    from memdet.inert_page import picture

    file = tmp_path / "one.png"
    noise = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    file.write_bytes(png_bytes(noise)[:size])
    with pytest.raises(UserError, match=r"one\.png holds no image that can be read"):
        picture(file)
    with pytest.raises(UserError, match=r"two\.png holds no image that can be read \(No such file or directory\)"):
        picture(tmp_path / "two.png")


@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data.replace(b"IDAT", b"IDAX")])
def test_a_training_image_of_a_page_that_cannot_be_read_is_named(damage, tmp_path):
    from memdet.page.training import training_of

    whole, file = png_bytes(np.arange(256, dtype=np.uint8).reshape(16, 16)), tmp_path / "items.parquet"
    pd.DataFrame({"prompt": ["a"], "image": [whole]}).to_parquet(file)
    assert training_of(str(tmp_path))["a"].images == [whole]
    pd.DataFrame({"prompt": ["a"], "image": [damage(whole)]}).to_parquet(file)
    with pytest.raises(UserError, match=r"items\.parquet is damaged: the image of 'a' is no whole PNG"):
        training_of(str(tmp_path))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"items\.parquet is damaged"):
        training_of(str(tmp_path))


def test_an_image_that_is_none_is_named(tmp_path):
    from memdet.results.images import write_images

    run = made_run(tmp_path / "run")
    (key,) = read_images(run)
    for wrong in (b"no image", b"\x89PNG\r\n\x1a\n"):
        write_images(run, {key: wrong})
        with pytest.raises(UserError, match=r"images\.parquet is damaged: the image that mixture-2d made of '0' is no"):
            read_images(run)
