"""Maps against the region that memorized items share."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import stats

from memdet.cli import group
from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detectors
from memdet.errors import UserError
from memdet.localization.localization import best_threshold, iou, localize, region_mask
from memdet.metrics import mean_interval
from memdet.samplesets import load_sample_set

LEFT = np.repeat([[1, 1, 0, 0]], 2, axis=0)


class Marked(Detector):
    """Marks the first columns, more strongly for each item of the batch, over a floor of a tenth."""

    info = DetectorInfo(name="marked", title="marks columns", access="score", cost="none")
    columns: int = 4

    def score(self, probe):
        raise NotImplementedError

    def map(self, probe):
        maps = torch.full((len(probe), 8, 8), 0.1)
        maps[:, :, : self.columns] += torch.arange(1.0, len(probe) + 1)[:, None, None]
        return maps


def test_the_region_as_pixels():
    assert region_mask([0.0, 0.0, 0.5, 1.0], (4, 2, 4)).tolist() == LEFT.tolist()
    assert region_mask([0.25, 0.5, 1.0, 1.0], (1, 2, 4)).tolist() == [[0, 0, 0, 0], [0, 1, 1, 1]]


def test_overlap_of_known_maps():
    maps = np.array([[[2, 2, 0, 0]] * 2, [[2, 0, 2, 0]] * 2, [[0, 0, 2, 2]] * 2, [[2, 2, 2, 2]] * 2], dtype=float)
    assert iou(maps, LEFT, 1.0).tolist() == pytest.approx([1, 1 / 3, 0, 1 / 2])
    assert iou(maps, LEFT, 3.0).tolist() == [0, 0, 0, 0]


def test_the_threshold_is_the_best_one():
    maps = np.array([[[5.0, 4.0, 2.0, 1.0]] * 2])
    assert 2.0 <= best_threshold(maps, LEFT) < 4.0


def test_maps_of_known_quality():
    sample_set = load_sample_set("tiny-sd-a-template")
    found = localize(sample_set, [Marked(), Marked(columns=8), Marked(columns=0), Marked(columns=2)], seeds=2)
    rows = {row["detector"]: row for row in found}
    assert rows["whole image"]["iou"] == 0.5
    assert (rows["marked"]["pixel_auroc"], rows["marked"]["iou"]) == (1, 1)
    assert [rows[f"marked@columns={n}"]["pixel_auroc"] for n in (8, 0, 2)] == [0.5, 0.5, 0.75]
    assert rows["marked@columns=2"]["iou"] == 0.5
    assert {row["n_items"] for row in found} == {30}  # memorized test items alone


def test_detectors_without_a_map_say_so_and_those_with_one_are_found():
    classes = detector_classes()
    maps = {"curvature-map", "score-difference-map", "bright-ending", "wen2024"}
    assert maps == {name for name, cls in classes.items() if cls.gives_map()}
    rows = localize(load_sample_set("tiny-sd-a-template"), make_detectors(["random"], classes), seeds=1)
    assert (rows[1]["status"], rows[1]["message"]) == ("not-applicable", "random gives no map")


def test_the_command(tmp_path):
    out = tmp_path / "new" / "map.json"
    arguments = ["localize", "tiny-sd-a-template", "--detector", "wen2024", "--seeds", "1", "--format", "json"]
    done = CliRunner().invoke(group, [*arguments, "--out", str(out)], standalone_mode=False)
    assert done.exception is None
    row = json.loads(out.read_text())[1]
    assert 0.5 < row["pixel_auroc_low"] < row["pixel_auroc"] < row["pixel_auroc_high"] < 0.8
    for spec, word in [("tiny-sd-a-verbatim", "shared_region"), ("nowhere", "unknown sample set")]:
        done = CliRunner().invoke(group, ["localize", spec], standalone_mode=False)
        assert isinstance(done.exception, UserError)
        assert word in str(done.exception)


def test_interval_of_a_mean():
    rng = np.random.default_rng(0)
    values = rng.normal(size=400)
    interval = mean_interval(values, np.arange(400))
    assert interval.value == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    doubled = mean_interval(np.repeat(values[:100], 4), np.repeat(np.arange(100), 4))
    assert doubled.high - doubled.low == pytest.approx(2 * 1.96 * values[:100].std() / 10, rel=0.15)
    with pytest.raises(ValueError, match="finite"):
        mean_interval([np.nan], ["a"])


def test_interval_of_a_mean_over_draws():
    """A draw moves all items: its mean is a number a seed, and Student's t for their number less 1 says how sure."""
    item, draw = np.random.default_rng(1).normal(size=50), np.array([0.3, -0.2, 0.5, 0.1])
    alone, both = mean_interval(item + draw.mean(), range(50)), mean_interval(item[:, None] + draw, range(50))
    reach = stats.t.isf(0.025, 3) * draw.std(ddof=1) / 2
    assert both.value == pytest.approx(alone.value)
    assert both.high - both.value == pytest.approx(np.hypot(alone.high - alone.value, reach))
    assert both.value - both.low == pytest.approx(np.hypot(alone.value - alone.low, reach))
    mixed = item[:, None] + np.random.default_rng(2).normal(size=(50, 4))  # no draw moves all items
    assert np.ptp([mean_interval(mixed, range(50)).high, mean_interval(mixed.mean(axis=1), range(50)).high]) < 0.1
