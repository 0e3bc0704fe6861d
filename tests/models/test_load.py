"""What a user writes becomes a model: where hub models come from, and what is no model."""

from __future__ import annotations

import pytest
import torch

from memdet.errors import UserError
from memdet.models import load_model
from memdet.samplesets.fetch import Fetcher


def test_a_hub_model_is_what_the_fetcher_gives(random_pipeline, random_model, monkeypatch):
    asked = []

    def snapshot(fetcher, reference, allow, ignore):
        asked.append((fetcher, reference, "*/*.safetensors" in allow, "*.fp16.*" in ignore))
        return random_pipeline

    monkeypatch.setattr(Fetcher, "hub_snapshot", snapshot)
    for fetcher in (None, Fetcher(offline=True)):
        model = load_model("org/name@abc", fetcher=fetcher, dtype=torch.float64)
        assert model.fingerprint() == random_model.fingerprint()
        assert (model.name, model.dtype) == ("name@abc", torch.float64)
    assert asked == [(Fetcher(), "org/name@abc", True, True), (Fetcher(offline=True), "org/name@abc", True, True)]


def test_an_unknown_name_is_met_with_near_ones():
    with pytest.raises(UserError, match="did you mean mixture-2d"):
        load_model("mixture-2dd")
