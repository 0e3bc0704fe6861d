"""How many items are computed at once, and what happens where they do not fit."""

import numpy as np
import pytest
import torch

from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detectors
from memdet.errors import UserError
from memdet.models import load_model
from memdet.results.store import read_scores
from memdet.running import RunOptions, run
from memdet.running.batch_size import ELEMENTS_ELSEWHERE, LARGEST_BATCH, automatic_batch, batch_of
from memdet.running.memory import is_out_of_memory
from memdet.samplesets import load_sample_set
from tests.helpers.problems import MIXTURES, make_mixture
from tests.helpers.runs import read_manifest


def test_errors_of_memory_are_known():
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes differ"))
    assert not is_out_of_memory(ValueError("out of memory"))


def test_the_rule_goes_by_the_latent_and_the_device(monkeypatch):
    network = load_model("tiny-sd-a")  # latents of 256 numbers
    assert automatic_batch(network) == 64
    monkeypatch.setattr(network, "device", torch.device("cuda"))
    assert automatic_batch(network) == LARGEST_BATCH
    monkeypatch.setattr(network, "latent_shape", (4, 64, 64))
    assert automatic_batch(network) == ELEMENTS_ELSEWHERE // 2**14 == 32
    assert automatic_batch(make_mixture(next(iter(MIXTURES)))) == LARGEST_BATCH
    assert automatic_batch(load_model("oracle-16k")) == 16
    assert batch_of(RunOptions(batch_size=3), network) == 3
    assert batch_of(RunOptions(), network) == 32


class Hungry(Detector):
    """Has memory for some items; scores are those of the random control."""

    info = DetectorInfo(name="hungry", title="", access="score", cost="1 F")
    room: int = 12

    def score(self, probe):
        if len(probe) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return probe.eps(probe.noise, probe.timesteps[0], "cond").flatten(1).norm(dim=1)


def scored(out, *detectors, **options):
    run([load_sample_set("mixture-2d")], detectors, out, RunOptions(seeds=2, **options), progress=False)
    return read_scores(out).to_pandas(), read_manifest(out)


def test_a_batch_that_does_not_fit_is_halved_and_that_is_recorded(tmp_path):
    (wen,) = make_detectors(["wen2024"], detector_classes())
    halved, manifest = scored(tmp_path / "halved", wen, Hungry(), batch_size=100)
    whole, others = scored(tmp_path / "whole", wen, Hungry(room=1_000), batch_size=100)
    assert manifest["halved"] == {"mixture-2d": 12}  # 100, 50, 25, 12
    assert "halved" not in others
    assert manifest["settings"]["sample_sets"][0]["batch_size"] == 100
    assert (halved["item_id"] == whole["item_id"]).all()
    np.testing.assert_allclose(halved["score"], whole["score"], rtol=1e-12)
    np.testing.assert_allclose(halved["forwards"], whole["forwards"], rtol=1e-12)


def test_a_halved_run_is_continued(tmp_path, monkeypatch):
    """Settings hold the planned batch, so that another machine can go on."""
    scored(tmp_path / "run", Hungry(), batch_size=100)
    again, manifest = scored(tmp_path / "run", Hungry(), batch_size=100)
    assert manifest["halved"] == {"mixture-2d": 12}
    assert set(again["status"]) == {"ok"}


class Greedy(Detector):
    info = DetectorInfo(name="greedy", title="", access="score", cost="1 F")

    def score(self, probe):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")


def test_one_item_that_does_not_fit_ends_the_run_with_what_to_do(tmp_path):
    with pytest.raises(UserError, match=r"out of memory in greedy with a single item: take another device or dtype"):
        run([load_sample_set("mixture-2d")], [Greedy()], tmp_path, RunOptions(seeds=1, batch_size=50), progress=False)


class GreedyWhole(Greedy):
    info = DetectorInfo(name="greedy-whole", title="", access="score", cost="1 F", whole_set=True)


def test_a_whole_set_cannot_be_halved(tmp_path):
    with pytest.raises(UserError, match="greedy-whole with 400 items at once"):
        run([load_sample_set("mixture-2d")], [GreedyWhole()], tmp_path, RunOptions(seeds=1), progress=False)
