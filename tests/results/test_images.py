"""Generations that are kept with a run are those of the model under the protocol."""

import io

import numpy as np
import pytest
from PIL import Image

from memdet.detectors import detector_classes, make_detectors
from memdet.models import load_model
from memdet.probing import Items
from memdet.results import Manifest, Run, SampleSetEntry, Settings
from memdet.results.conditions import Source, sources_of
from memdet.results.images import key_of, read_images
from memdet.running import RunOptions, run
from memdet.running.generations import make_images
from memdet.samplesets import load_sample_set
from tests.helpers.problems import make_probe


@pytest.fixture
def source():
    """Two labels of ``fashion-multi``, one of which recalls a single image, with a short trajectory."""
    sample_set = load_sample_set("fashion-multi-1")
    tested = sample_set.items[sample_set.items["split"] == "test"]
    items = [tested[tested["label"] == label].sort_values("extraction").iloc[-1] for label in (1, 0)]
    entry = SampleSetEntry(id=sample_set.id, steps=8, guidance=1.0, noise="shared")
    condition = {item["item_id"]: item["condition"] for item in items}
    return Source(entry, sample_set, condition, dict.fromkeys(condition, "fashion-multi"))


def test_images_are_the_ends_of_the_trajectories_and_made_once(source, tmp_path):
    kept = make_images(tmp_path, [source], 2, progress=False)
    assert set(kept) == {key_of(source, item, seed) for item in source.condition for seed in (0, 1)}
    item, condition = next(iter(source.condition.items()))
    alone = Items([item], [condition], [item], [0], has_prompts=False)
    expected = make_probe(load_model("fashion-multi"), alone, seed=1, steps=8, guidance=1.0, noise="shared").generated()
    pixels = np.asarray(Image.open(io.BytesIO(kept[key_of(source, item, 1)])), float) / 255
    assert pixels == pytest.approx(expected[0, 0].numpy(), abs=0.004)  # half a grey level, and rounding in batches
    before = (tmp_path / "images.parquet").read_bytes()
    assert make_images(tmp_path, [source], 2, progress=False) == kept == read_images(tmp_path)
    assert (tmp_path / "images.parquet").read_bytes() == before


def test_a_run_keeps_what_its_items_were_and_closed_forms_have_no_images(tmp_path):
    sample_set = load_sample_set("mixture-2d")
    run([sample_set], make_detectors(["random"], detector_classes()), tmp_path, RunOptions(seeds=1), progress=False)
    (source,) = Run.load(tmp_path).sources.values()
    items = sample_set.items
    assert source.sample_set is not None
    assert source.condition == dict(zip(items["item_id"], items["condition"], strict=True))
    assert make_images(tmp_path, [source], 1, progress=False) == {}
    assert not (tmp_path / "images.parquet").exists()


def test_a_set_of_another_version_is_known_by_what_the_run_kept():
    entry = SampleSetEntry(id="mixture-2d", version=7, model="mixture-2d", steps=2)
    (source,) = sources_of(Manifest(settings=Settings(sample_sets=[entry])), None).values()
    assert source.sample_set is None
    assert source.condition == {}
