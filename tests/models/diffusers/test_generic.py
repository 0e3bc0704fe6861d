"""Pipelines on no list: read by what their call tells their network, if they agree with themselves."""

import json

import pytest
import torch

from memdet.errors import UserError
from memdet.models import load_model
from memdet.models.diffusers import certificate, families
from memdet.models.diffusers.certificate import Certificate
from tests.helpers.tiny_pipelines import save

LISTED = families.families()


@pytest.fixture
def unlisted(monkeypatch, tmp_path):
    """A pipeline of which no family knows, and a cache of its own."""
    monkeypatch.setattr(certificate.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    monkeypatch.setattr(families, "families", lambda: tuple(one for one in LISTED if one.name != "sd3"))
    return save("sd3", tmp_path)


def test_it_is_read_with_a_certificate_as_its_family_reads_it(unlisted, monkeypatch, tmp_path):
    guessed = load_model(unlisted)
    assert "StableDiffusion3Pipeline, on no list" in " ".join(guessed.remarks())
    assert len(list((tmp_path / "cache" / "certificates").iterdir())) == 1
    monkeypatch.undo()
    known = load_model(unlisted)
    x = torch.randn(2, *known.latent_shape, generator=torch.Generator().manual_seed(0))
    for t in (1000.0, 500.0, 3.0):
        ours, theirs = (model.predict(x, t, model.embed(["a", "b"])) for model in (guessed, known))
        torch.testing.assert_close(ours, theirs)
    assert guessed.schedule.timesteps(5) == known.schedule.timesteps(5)


def test_without_a_certificate_it_is_refused_with_both_numbers(unlisted, monkeypatch):
    monkeypatch.setattr(certificate, "certify", lambda model: Certificate(0.25, 0.5, 1e-3))
    with pytest.raises(UserError, match=r"predictions differ by 2.5e-01, ends of trajectories by 5.0e-01"):
        load_model(unlisted)


@pytest.mark.parametrize(
    "pipeline", ["StableDiffusionInpaintPipeline", "StableDiffusionXLControlNetPipeline", "RectifiedFlowPipeline"]
)
def test_what_starts_from_an_image_or_is_unknown_is_refused_by_name(pipeline, copy_of_pipeline):
    directory = copy_of_pipeline()
    index = directory / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_class_name": pipeline}))
    with pytest.raises(UserError, match=f"a {pipeline}, which memdet does not read; it reads Stable Diffusion 1 and 2"):
        load_model(directory)
