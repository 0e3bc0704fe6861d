"""A user says what a network predicts, against its files."""

import json

import pytest
import torch

from memdet.errors import UserError
from memdet.models import LoadOptions, load_model
from tests.helpers.problems import make_items, make_probe


def test_a_wrong_file_is_overruled(random_pipeline, copy_of_pipeline):
    """The network predicts eps; its files say v, and the user says eps."""
    directory = copy_of_pipeline()
    file = directory / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"prediction_type": "v_prediction"}))
    right, wrong = load_model(random_pipeline), load_model(directory)
    mended = load_model(directory, options=LoadOptions(prediction_type="eps"))
    x = torch.randn(2, *right.latent_shape, generator=torch.Generator().manual_seed(0))
    expected = right.eps(x, 500, right.embed(["a", "b"]))
    assert torch.equal(mended.eps(x, 500, mended.embed(["a", "b"])), expected)
    assert not torch.equal(wrong.eps(x, 500, wrong.embed(["a", "b"])), expected)
    items = make_items(["a", "b"], has_prompts=True)
    ends = [make_probe(model, items, steps=3).trajectory().clean() for model in (right, mended, wrong)]
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_it_is_another_model(random_pipeline):
    plain = load_model(random_pipeline)
    stated = load_model(random_pipeline, options=LoadOptions(prediction_type="v"))
    assert plain.fingerprint() != stated.fingerprint()
    assert stated.name == f"{plain.name}+predicts-v"
    assert "its files say eps" in stated.remarks()[-1]
    with pytest.raises(UserError, match="`prediction_type` is 'noise'; known: eps, x0, v, flow"):
        load_model(random_pipeline, options=LoadOptions(prediction_type="noise"))
