"""Runs of mitigations: resumed to the same bytes, shared by processes, refused where nothing was planted."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from memdet.errors import UserError
from memdet.io_utils import png_bytes
from memdet.mitigating.generations import Generations
from memdet.mitigating.run import first_of_each_label, mitigate
from memdet.mitigating.work import MitigationWork
from memdet.mitigation import make_mitigations, mitigation_classes
from memdet.results.store import GENERATION_FILE
from memdet.running import RunOptions
from memdet.samplesets import SampleSet, load_sample_set

CAPTIONS = ["alderon plain dress on white a01", "birkwell soft bag at sale b02", "Corvane light bag on table c03"]


@pytest.fixture
def planted(copy_of_pipeline):
    """A random pipeline with a card that says what was planted in it, and captions of it."""
    directory = copy_of_pipeline()
    rng = np.random.default_rng(0)
    images = [png_bytes(rng.integers(0, 256, size=(32, 32), dtype=np.uint8)) for _ in CAPTIONS]
    ids = [f"c{index}" for index in range(len(CAPTIONS))]
    pd.DataFrame({"item_id": ids, "image": images}).to_parquet(directory / "items.parquet")
    figures = {"threshold": 0.09, "settings": {"steps": 50, "guidance": 2.0}}
    (directory / "extraction.json").write_text(json.dumps(figures))
    frame = pd.DataFrame({"item_id": ids, "prompt": CAPTIONS, "label": [1, 0, 0]})
    return SampleSet.from_pandas(frame, model=directory, id="mine", steps=3, guidance=2.0, seeds=2)


def methods(*names):
    return make_mitigations(names, mitigation_classes())


def bytes_of(directory):
    return [(directory / name).read_bytes() for name in (GENERATION_FILE, "scores.parquet", "items.parquet")]


@pytest.mark.slow
def test_interrupted_and_resumed_run_gives_the_same_bytes(planted, tmp_path, monkeypatch):
    chosen, options = methods("jain2025-static", "other-caption"), RunOptions(batch_size=1)
    whole = mitigate(planted, chosen, tmp_path / "whole", options, progress=False)
    compute, done = MitigationWork.compute, []

    def until_third(self, name, unit, sink):
        if len(done) == 2:
            raise KeyboardInterrupt
        compute(self, name, unit, sink)
        done.append(unit.name)

    with monkeypatch.context() as patch:
        patch.setattr(MitigationWork, "compute", until_third)
        with pytest.raises(KeyboardInterrupt):
            mitigate(planted, chosen, tmp_path / "resumed", options, progress=False)
    assert len(done) == 2
    again = []
    monkeypatch.setattr(MitigationWork, "_score", lambda self, *of: again.append(1) or score(self, *of))
    mitigate(planted, chosen, tmp_path / "resumed", options, progress=False)
    assert len(again) == 4  # of six units
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "resumed")
    assert not (tmp_path / "resumed" / "pictures").exists()
    assert [one.label for one in whole.mitigations] == ["none", "reseed", "jain2025-static", "other-caption"]
    by_name = {one.label: one for one in whole.mitigations}
    assert by_name["none"].own.shape == (3, 2)
    assert np.isfinite(by_name["none"].own).all()
    assert by_name["other-caption"].status == "not-applicable"  # a single dress: nobody else names one
    assert (by_name["none"].forwards, by_name["jain2025-static"].forwards) == (6.0, 5.0)
    mitigate(planted, chosen, tmp_path / "whole", options, progress=False)  # finished: read again


score = MitigationWork._score


@pytest.mark.slow
def test_workers_give_the_same_generations(planted, tmp_path):
    chosen = methods("lower-guidance")
    alone = mitigate(planted, chosen, tmp_path / "alone", RunOptions(seeds=1), progress=False)
    shared = mitigate(planted, chosen, tmp_path / "shared", RunOptions(seeds=1, workers=2), progress=False)
    for one, other in zip(alone.mitigations, shared.mitigations, strict=True):
        np.testing.assert_allclose(one.own, other.own, rtol=1e-5)


@pytest.mark.slow
def test_a_directory_without_generations_is_no_run_of_mitigations(planted, tmp_path):
    out = tmp_path / "run"
    mitigate(planted, methods(), out, RunOptions(seeds=1), progress=False)
    (out / GENERATION_FILE).unlink()
    with pytest.raises(UserError, match="holds no run of mitigations"):
        Generations.load(out)


def test_a_set_of_which_nothing_was_planted_is_refused(tmp_path):
    with pytest.raises(UserError, match="nothing says which images it was trained to give back"):
        mitigate(load_sample_set("mixture-2d"), methods(), tmp_path, progress=False)
    with pytest.raises(UserError, match="knows no threshold of copies for captions"):
        mitigate(load_sample_set("fashion-multi-1"), methods(), tmp_path, progress=False)


def test_the_same_mitigation_twice_is_refused(tmp_path):
    twice = [*methods(), *methods()]
    with pytest.raises(UserError, match="two mitigations have the name 'none'"):
        mitigate(load_sample_set("tiny-sd-a-verbatim"), twice, tmp_path, progress=False)


def test_some_items_of_each_label():
    whole = load_sample_set("tiny-sd-a-verbatim")
    some = first_of_each_label(whole, 3)
    tested = some.items[some.items["split"] == "test"]
    assert tested["label"].value_counts().to_dict() == {1: 3, 0: 3}
    assert len(some.items[some.items["split"] == "dev"]) == len(whole.items[whole.items["split"] == "dev"])
    assert some.content_hash != whole.content_hash
    with pytest.raises(UserError, match="`items` is 1000"):
        first_of_each_label(whole, 1000)
