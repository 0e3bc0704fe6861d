"""Regressions planted in real runs are caught; re-runs with other seeds are not."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml

from memdet.detectors import detector_classes, make_detectors
from memdet.detectors.methods.curvature_gap import CurvatureGap
from memdet.detectors.methods.hessian_trace import HessianTrace
from memdet.detectors.methods.wen2024_magnitude import ScoreDifferenceNorm
from memdet.gate import check as gate
from memdet.gate.check import check_run
from memdet.models import GaussianMixture, NoiseSchedule
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.models.diffusers.directory import DiffusersSchedule
from memdet.running import RunOptions, run, scoring
from memdet.samplesets import load_sample_set, specs_directory
from tests.helpers.runs import cut_run

SET = "tiny-sd-a-verbatim"


class Flipped(ScoreDifferenceNorm):
    """The sign is wrong."""

    def score(self, probe):
        return -super().score(probe)


class NextStep(ScoreDifferenceNorm):
    """The noise of the first step goes with the timestep of the second."""

    def score(self, probe):
        trajectory = probe.trajectory()
        return probe.difference(trajectory.state(0), trajectory.timesteps[1]).double().flatten(1).norm(dim=1)


class Half(ScoreDifferenceNorm):
    def score(self, probe):
        return super().score(probe).half()


class HalfGap(CurvatureGap):
    def score(self, probe):
        return super().score(probe).half()


def make_run(path, *detectors, of_label=None):
    """A run of all items, or of the first few of each label and split."""
    sample_set = load_sample_set(SET)
    if of_label:
        sample_set = replace(sample_set, items=sample_set.items.groupby(["label", "split"]).head(of_label))
    run([sample_set], detectors, path, RunOptions(seeds=1), progress=False)
    return path


def found(path, baseline, **options):
    return {(failure.kind, failure.detector) for failure in check_run(path, baseline, **options).failures}


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("baseline") / "run", ScoreDifferenceNorm(), CurvatureGap())


@pytest.mark.slow
def test_the_same_run_again_in_other_batches_passes(baseline, tmp_path):
    options = RunOptions(seeds=1, batch_size=50)
    run([load_sample_set(SET)], [ScoreDifferenceNorm(), CurvatureGap()], tmp_path / "run", options, progress=False)
    assert check_run(tmp_path / "run", baseline).passed


@pytest.mark.parametrize(
    ("detectors", "expected"),
    [
        ([Flipped(), CurvatureGap()], {("drop", "wen2024"), ("drift", "wen2024")}),
        ([NextStep(), CurvatureGap()], {("drift", "wen2024")}),
        ([Half(), CurvatureGap()], {("drift", "wen2024"), ("precision", "wen2024")}),
        ([ScoreDifferenceNorm(), HalfGap()], {("precision", "curvature-gap")}),
    ],
    ids=["a sign flip", "an off-by-one timestep", "float16 scores", "float16 scores under a wide tolerance"],
)
@pytest.mark.slow
def test_a_detector_that_broke_is_named_and_the_other_is_not(detectors, expected, baseline, tmp_path):
    assert found(make_run(tmp_path / "run", *detectors), baseline) == expected


@pytest.mark.slow
def test_a_sign_flip_drops_as_far_as_it_can(baseline, tmp_path):
    result = check_run(make_run(tmp_path / "run", Flipped(), CurvatureGap()), baseline, drift=np.finfo(float).max)
    row = result.rows[0]
    assert result.failures[0].detector == "wen2024"
    assert row.after == pytest.approx(1 - row.before)
    assert len(result.failures[0].moved) > 150


@pytest.mark.parametrize("wrong", ["v", "x0"])
@pytest.mark.slow
def test_a_wrong_prediction_type_is_caught(wrong, tmp_path, monkeypatch):
    """In what follows a trajectory, and in the score of one branch; a first difference of outputs is the same."""

    def load(*arguments, **options):
        model = original(*arguments, **options)
        model.prediction_type = wrong
        return model

    original, detectors = scoring.load_model, (ScoreDifferenceNorm(steps=5), HessianTrace())
    before = make_run(tmp_path / "before", *detectors, of_label=20)
    monkeypatch.setattr(scoring, "load_model", load)
    path = make_run(tmp_path / "run", *detectors, of_label=20)
    assert found(path, before) >= {("drift", "wen2024@steps=5"), ("drift", "hessian-trace")}


@pytest.mark.slow
def test_a_schedule_that_is_one_timestep_early_is_caught(baseline, tmp_path, monkeypatch):
    """980 in place of 981: the offset of 1 that schedulers do not agree on."""
    original = DiffusersSchedule.timesteps
    monkeypatch.setattr(DiffusersSchedule, "timesteps", lambda self, steps: [t - 1 for t in original(self, steps)])
    path = make_run(tmp_path / "run", ScoreDifferenceNorm(), CurvatureGap())
    assert ("drift", "wen2024") in found(path, baseline)


# Items under conditions of their own, those of memorized ones tighter: no detector separates them wholly.
TIGHTNESS = np.random.default_rng(0).uniform(0.05, 0.4, 60) + 0.35 * (np.arange(60) % 2)
HARD = ["wen2024@steps=5", "curvature-gap", "hessian-trace"]


def hard(device):
    return GaussianMixture(
        "hard",
        means=torch.tensor([[-0.6, 0.0], [0.6, 0.0], [0.0, 1.5]]),
        stds=[0.3, 1.0, 1.0],
        weights=[0.3, 0.4, 0.3],
        conditions={f"c{i}": [w, (1 - w) / 2, (1 - w) / 2] for i, w in enumerate(TIGHTNESS)},
        schedule=NoiseSchedule.from_betas(np.linspace(1e-4, 0.02, 1_000)),
        device=device,
    )


@pytest.fixture(scope="module", params=["shared", "per-item"])
def many_seeds(request, tmp_path_factory):
    """One run of 202 seeds on a closed form, and how its noise is drawn."""
    place = tmp_path_factory.mktemp("hard")
    lines = [f"i{i:02d},c{i},{i % 2}\n" for i in range(60)]
    (place / "items.csv").write_text("item_id,condition,memorized\n" + "".join(lines))
    spec = yaml.safe_load((specs_directory() / "mixture-2d.yaml").read_text())
    spec |= {"id": "hard", "model": "hard", "source": {"kind": "local", "path": "items.csv"}}
    spec["protocol"] |= {"steps": 5, "noise": request.param}
    (place / "hard.yaml").write_text(yaml.safe_dump(spec))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CLOSED_FORM, "hard", f"{__name__}:{hard.__name__}")
        detectors = make_detectors(HARD, detector_classes())
        run([load_sample_set(place / "hard.yaml")], detectors, place / "run", RunOptions(seeds=202), progress=False)
    return place / "run"


@pytest.mark.slow
def test_a_hundred_re_runs_with_other_seeds_raise_five_alarms_at_most(many_seeds, tmp_path, monkeypatch):
    monkeypatch.setattr(gate, "DRAWS", 400)  # p of .0025 at least, thrice that adjusted
    baseline = cut_run(tmp_path / "baseline", many_seeds, seeds=[0, 1])
    alarms, drops = 0, 0
    for k in range(1, 101):
        result = check_run(cut_run(tmp_path / str(k), many_seeds, seeds=[2 * k, 2 * k + 1]), baseline)
        alarms += not result.passed
        drops += any(row.p is not None for row in result.rows)
        assert all(row.drift is None for row in result.rows)
    assert alarms <= 5
    assert drops > 20  # beyond the tolerance, and passed for what they are


@pytest.mark.slow
def test_a_sign_flip_is_caught_under_other_seeds_too(many_seeds, tmp_path):
    baseline = cut_run(tmp_path / "baseline", many_seeds, seeds=[0, 1])

    def flip(frame):
        return frame.assign(score=frame["score"].where(frame["detector"] != "hessian-trace", -frame["score"]))

    flipped = cut_run(tmp_path / "run", many_seeds, seeds=[4, 5], change=flip)
    assert found(flipped, baseline) == {("drop", "hessian-trace")}
