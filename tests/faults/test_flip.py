"""No flipped bit of a run or of a planted model is read in silence."""

import pytest

from tests.faults.flip import kinds, try_flips

FLIPS = 10


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return {file: (directory, read) for directory, file, read in kinds(tmp_path_factory.mktemp("flip"))}


@pytest.mark.parametrize(
    "name",
    [
        *("scores.parquet", "items.parquet", "run.json", "images.parquet"),
        *(f"zoo/weights/toy-2d/{name}" for name in ("model.safetensors", "config.json", "model_index.json")),
    ],
)
def test_flipped_bits_are_found(name, files):
    directory, read = files[name]
    found = try_flips(directory, name, read, FLIPS, seed=1)
    assert found["found"] + found["harmless"] == FLIPS, found
    assert found["found"] > 0
    read(directory)
