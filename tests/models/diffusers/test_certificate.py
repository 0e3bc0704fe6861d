"""The certificate: a model agrees with the pipeline that it was read from, and a wrong reading does not."""

import dataclasses
import json
import math

import pandas as pd
import pytest
import torch

from memdet import SampleSet, evaluate
from memdet.errors import NotApplicableError, UserError
from memdet.models import load_model
from memdet.models.diffusers import certificate
from memdet.models.diffusers.captured import CapturedModel
from memdet.models.diffusers.certificate import Certificate, certify
from tests.helpers.tiny_pipelines import save


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_stable_diffusion_agrees_with_its_pipeline(random_pipeline, dtype):
    found = certify(load_model(random_pipeline, dtype=dtype))
    assert found.passed, str(found)
    assert found.trajectory is not None


@pytest.mark.parametrize("name", ["sd3", pytest.param("sdxl", marks=pytest.mark.slow), "dit"])
def test_families_agree_with_their_pipelines(name, tmp_path):
    found = certify(load_model(save(name, tmp_path), dtype=torch.float64))
    assert found.passed, str(found)
    assert (found.trajectory is None) == (name == "dit")


def test_a_wrong_reading_is_told(tmp_path):
    model = load_model(save("sd3", tmp_path))
    model._capture = dataclasses.replace(model._capture, time=(0.0, 0.9))
    found = certify(model)
    assert not found.passed
    assert found.prediction > 1e-2


def swapped(model, condition):
    """The same model, which takes the null branch for the condition and the other way round."""
    cond, null = model.embed([condition]), model.embed_null()
    model.embed = lambda conditions: null.expand(len(conditions))
    model.embed_null = lambda: cond
    return model


@pytest.mark.parametrize(("name", "condition"), [("dit", "1"), ("sd3", "plain coat")])
def test_branches_that_are_swapped_are_told_by_predictions_alone(name, condition, tmp_path):
    """A pipeline of classes takes no starting latents, so that no trajectory would tell."""
    found = certify(swapped(load_model(save(name, tmp_path), dtype=torch.float64), condition))
    assert found.prediction > 1e-3
    assert not found.passed


def test_stable_diffusion_with_swapped_branches_is_told(random_pipeline):
    assert certify(swapped(load_model(random_pipeline, dtype=torch.float64), "plain coat")).prediction > 1e-3


@pytest.mark.parametrize("name", ["dit", "sd3"])
def test_a_family_that_says_the_other_order_is_refused(name, tmp_path):
    directory = save(name, tmp_path)
    family = load_model(directory).family
    swapped = dataclasses.replace(family, null_first=not family.null_first)
    with pytest.raises(UserError, match="first, and its family the other way round"):
        CapturedModel(directory, swapped)


def test_a_model_that_lacks_a_branch_of_its_pipeline_is_told(tmp_path):
    model = load_model(save("sd3", tmp_path))
    model._capture = dataclasses.replace(model._capture, null=None)
    assert certify(model).prediction == math.inf


def test_a_closed_form_has_no_pipeline():
    with pytest.raises(NotApplicableError, match="mixture-2d was not read from a pipeline"):
        certify(load_model("mixture-2d"))


def test_a_run_takes_one_certificate_and_refuses_without(tmp_path, monkeypatch):
    cache, asked = tmp_path / "cache", []
    monkeypatch.setattr(certificate.platformdirs, "user_cache_dir", lambda name: str(cache))
    monkeypatch.setattr(certificate, "certify", lambda model: asked.append(model) or certify(model))
    directory = save("dit", tmp_path)
    items = pd.DataFrame({"condition": ["1", "2"], "label": [0, 1]})
    of_set = SampleSet.from_pandas(items, model=str(directory), id="classes", steps=3)
    for _ in range(2):
        evaluate("wen2024", of_set, progress=False)
    assert len(asked) == 1
    (kept,) = (cache / "certificates").iterdir()
    assert json.loads(kept.read_text())["prediction"] < 1e-3
    kept.unlink()
    monkeypatch.setattr(certificate, "certify", lambda model: Certificate(0.25, None, 1e-3))
    with pytest.raises(UserError, match=r"dit is not what its own pipeline computes: predictions differ by 2.5e-01"):
        evaluate("wen2024", of_set, progress=False)
    assert not list((cache / "certificates").iterdir())
