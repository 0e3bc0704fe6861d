"""Items that several sample sets of a run have in common are scored once, and get the scores that they get alone."""

import numpy as np
import pandas as pd
import pytest
import torch

from memdet import SampleSet
from memdet.detectors import Detector, DetectorInfo, detector_classes, make_detectors
from memdet.running import RunOptions, run, workers
from memdet.samplesets import load_sample_set

ASKED = []


class Counting(Detector):
    """Writes down whom it scores; the score is the norm of the first prediction."""

    info = DetectorInfo(name="counting", title="", access="score", cost="1 F")

    def score(self, probe):
        ASKED.append(list(probe.prompts))
        return probe.eps(probe.noise, probe.timesteps[0], "cond").double().flatten(1).norm(dim=1)


class ByDev(Counting):
    """The same, less a number from the dev split."""

    info = DetectorInfo(name="by-dev", title="", access="score", cost="1 F")

    def score(self, probe):
        return super().score(probe) - probe.calibrate(self.label, len)


class Talkative(Counting):
    """The same, with a remark."""

    info = DetectorInfo(name="talkative", title="", access="score", cost="1 F")

    def score(self, probe):
        probe.note("said")
        return super().score(probe)


def part_of(rows, name, **protocol):
    """A sample set of some items of tiny-sd-a-verbatim, six of them in the dev split."""
    items = load_sample_set("tiny-sd-a-verbatim").items
    test = items[items["split"] == "test"].groupby("label").head(12)
    dev = items[items["split"] == "dev"].groupby("label").head(3)
    kept = pd.concat([test.iloc[rows], dev])
    columns = kept[["item_id", "condition", "label", "cluster", "split"]].rename(columns={"condition": "prompt"})
    return SampleSet.from_pandas(columns, model="tiny-sd-a", id=name, steps=4, **protocol)


@pytest.fixture
def asked():
    ASKED.clear()
    return ASKED


@pytest.mark.parametrize("batch_size", [24, 5])
def test_what_two_sets_share_is_scored_once(asked, batch_size):
    sets = [part_of(slice(0, 16), "first"), part_of(slice(8, 24), "second")]
    options = RunOptions(batch_size=batch_size, seeds=2)
    both = run(sets, [Counting()], options=options, progress=False).score_rows()
    assert sum(map(len, asked)) == 2 * 24
    alone = pd.concat([run([one], [Counting()], options=options, progress=False).score_rows() for one in sets])
    assert both["item_id"].tolist() == alone["item_id"].tolist()
    np.testing.assert_allclose(both["score"], alone["score"], rtol=1e-5)
    pd.testing.assert_frame_equal(
        both.drop(columns="score").reset_index(drop=True), alone.drop(columns="score").reset_index(drop=True)
    )


@pytest.mark.parametrize("cls", [ByDev, Talkative])
def test_constants_and_remarks_are_those_of_one_set(asked, cls):
    sets = [part_of(slice(0, 16), "first"), part_of(slice(8, 24), "second")]
    found = run(sets, [cls()], options=RunOptions(batch_size=24), progress=False)
    assert sum(map(len, asked)) == 2 * 16
    assert set(found.score_rows()["status"]) == {"ok"}


@pytest.mark.parametrize("other", [{"guidance": 3.0}, {"noise": "per-item"}])
def test_another_protocol_is_another_score(asked, other):
    sets = [part_of(slice(0, 16), "first"), part_of(slice(8, 24), "second", **other)]
    run(sets, [Counting()], options=RunOptions(batch_size=24), progress=False)
    assert sum(map(len, asked)) == 2 * 16


@pytest.mark.slow
def test_every_detector_gives_the_same_scores(tmp_path, monkeypatch):
    """With two processes, and over detectors that follow a trajectory, look at dev items or at the whole set."""
    names = ("wen2024@steps=4", "broken-memories", "prompt-ngram", "random", "bright-ending")
    sets = [part_of(slice(0, 16), "first"), part_of(slice(8, 24), "second")]
    detectors = make_detectors(names, detector_classes())
    monkeypatch.setattr(workers, "GROUPS_PER_WORKER", 1)  # two seeds are enough that those of one stay in one process
    options = RunOptions(seeds=2)
    together = run(sets, detectors, tmp_path / "both", RunOptions(seeds=2, workers=2), progress=False).score_rows()
    alone = pd.concat([run([one], detectors, options=options, progress=False).score_rows() for one in sets])
    order = ["sample_set", "detector", "seed", "item_id"]
    together, alone = (rows.sort_values(order).reset_index(drop=True) for rows in (together, alone))
    np.testing.assert_allclose(together["score"], alone["score"], rtol=2e-4, equal_nan=True)
    assert together["status"].tolist() == alone["status"].tolist()
    torch.testing.assert_close(torch.tensor(together["forwards"]), torch.tensor(alone["forwards"]))
