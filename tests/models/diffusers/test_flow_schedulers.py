"""Samplers of betas that are told a flow: noise levels of their own class, and the certificate of the pipeline."""

from __future__ import annotations

import json

import diffusers
import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import UserError
from memdet.models import load_model
from memdet.models.diffusers.certificate import certify
from memdet.models.flow_schedule import FlowSchedule
from memdet.probing import Items
from tests.helpers.problems import make_probe
from tests.helpers.tiny_pipelines import save

FLOW = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SETTINGS = {
    "UniPC as Wan has it": ("UniPCMultistepScheduler", {"flow_shift": 3.0}),
    "UniPC of order 3": ("UniPCMultistepScheduler", {"flow_shift": 5.0, "solver_order": 3, "solver_type": "bh1"}),
    "DPM-Solver": ("DPMSolverMultistepScheduler", {"flow_shift": 7.0}),
    "DPM-Solver, stochastic": ("DPMSolverMultistepScheduler", {"algorithm_type": "sde-dpmsolver++"}),
    "DPM-Solver, singlestep": ("DPMSolverSinglestepScheduler", {"flow_shift": 2.0}),
}


@pytest.fixture(scope="module")
def sd3(tmp_path_factory):
    return save("sd3", tmp_path_factory.mktemp("flows"))


@pytest.fixture
def with_scheduler(sd3):
    """Gives the pipeline another scheduler."""
    index, config = sd3 / "model_index.json", sd3 / "scheduler" / "scheduler_config.json"

    def write(cls, **settings):
        config.write_text(json.dumps({"_class_name": cls, **settings}))
        index.write_text(json.dumps(json.loads(index.read_text()) | {"scheduler": ["diffusers", cls]}))
        return sd3

    return write


@pytest.mark.parametrize("name", SETTINGS)
def test_levels_are_those_of_its_own_class_and_the_certificate_is_passed(name, with_scheduler):
    cls, settings = SETTINGS[name]
    model = load_model(with_scheduler(cls, **FLOW, **settings), dtype=torch.float64)
    assert isinstance(model.schedule, FlowSchedule)
    assert model.prediction_type == "flow"
    scheduler = getattr(diffusers, cls)(**FLOW, **settings)
    for steps in (2, 7):
        scheduler.set_timesteps(steps)
        times, sigmas = model.schedule.timesteps(steps), scheduler.sigmas.tolist()
        assert [int(t) for t in times] == scheduler.timesteps.tolist()
        assert [model.schedule.sigma(t) for t in times] == pytest.approx(sigmas[:-1], abs=1e-6)
        assert [sigma for _, sigma in model.schedule.landings(steps)] == sigmas[1:]
    found = certify(model)
    assert found.passed, str(found)
    assert type(model.pipeline.scheduler).__name__ == cls
    assert model.pipeline.scheduler.config.solver_order == scheduler.config.solver_order


def test_a_shift_that_memdet_would_read_wrongly_is_told_by_the_certificate(with_scheduler):
    model = load_model(with_scheduler("UniPCMultistepScheduler", **FLOW, flow_shift=3.0))
    other = load_model(with_scheduler("UniPCMultistepScheduler", **FLOW, flow_shift=1.0))
    model.schedule = other.schedule
    assert not certify(model).passed


def test_a_start_just_below_noise_is_pure_noise(with_scheduler):
    """UniPC starts 1e-6 below noise, lest it divide by zero; scores of one branch there would be rounding alone."""
    model = load_model(with_scheduler("UniPCMultistepScheduler", **FLOW, flow_shift=3.0))
    items = Items(["a"], ["plain coat"], ["a"], [0], model.takes_prompts)
    probe = make_probe(model, items, steps=4, guidance=3.0)
    first, second = probe.timesteps[:2]
    assert model.schedule.is_pure_noise(first)
    assert not model.schedule.is_pure_noise(second)
    assert probe.at(None)[1] == second
    assert make_detector("wen2024@steps=1", detector_classes()).score(probe).min() > 0


REFUSED = {
    "predicts 'epsilon'": {"use_flow_sigmas": True, "prediction_type": "epsilon"},
    "predicts 'flow_prediction'": {"prediction_type": "flow_prediction"},
    "use_karras_sigmas beside": FLOW | {"use_karras_sigmas": True},
    "use_beta_sigmas beside": FLOW | {"use_beta_sigmas": True},
    "num_train_timesteps 500": FLOW | {"num_train_timesteps": 500},
    "flow_shift 0": FLOW | {"flow_shift": 0},
    "flow_shift '3'": FLOW | {"flow_shift": "3"},
    "thresholding": FLOW | {"thresholding": True},
}


@pytest.mark.parametrize("words", REFUSED)
@pytest.mark.parametrize("cls", ["UniPCMultistepScheduler", "DPMSolverMultistepScheduler"])
def test_a_setting_that_is_not_followed_is_refused_by_name(cls, words, with_scheduler):
    with pytest.raises(UserError, match=words):
        load_model(with_scheduler(cls, **REFUSED[words]))


def test_times_that_are_not_those_of_the_levels_are_refused(with_scheduler, monkeypatch):
    own = diffusers.UniPCMultistepScheduler.set_timesteps

    def otherwise(self, *arguments, **named):
        own(self, *arguments, **named)
        self.sigmas = self.sigmas * 0.9

    directory = with_scheduler("UniPCMultistepScheduler", **FLOW)
    monkeypatch.setattr(diffusers.UniPCMultistepScheduler, "set_timesteps", otherwise)
    with pytest.raises(UserError, match="the times of its UniPCMultistepScheduler are not those of its noise levels"):
        load_model(directory)
