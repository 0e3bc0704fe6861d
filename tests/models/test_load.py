"""What a user writes becomes a model: where hub models come from, and what is no model."""

from __future__ import annotations

import re

import pytest
import torch

from memdet.errors import UserError
from memdet.models import load_model


def test_an_unknown_name_is_met_with_near_ones():
    with pytest.raises(UserError, match="did you mean mixture-2d"):
        load_model("mixture-2dd")


@pytest.mark.parametrize("name", ["mixture-2d", "toy-2d", "fashion-pixel"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float32"}, "`dtype` is 'float32'; write a dtype of torch that holds decimals, torch.float32"),
        ({"dtype": torch.int32}, "`dtype` is torch.int32; write a dtype"),
        ({"device": "gpu"}, "`device` 'gpu' does not work here"),
        ({"device": 3}, "`device` is 3; write auto, cpu, cuda or mps"),
    ],
)
def test_where_and_how_a_model_cannot_compute(name, options, words):
    with pytest.raises(UserError, match=re.escape(words)):
        load_model(name, **options)


def test_the_fastest_device_is_taken_for_auto(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert load_model("mixture-2d", device="auto").device == torch.device("cpu")


@pytest.mark.parametrize("reference", [None, 3, "", " ", ["mixture-2d"], load_model("mixture-2d")])
def test_what_names_no_model(reference):
    with pytest.raises(UserError, match="a model is named by text or a path, not"):
        load_model(reference)
