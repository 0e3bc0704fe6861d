"""What several benchmarks share: the device, and a trained model with a batch of its items."""

from __future__ import annotations

import pytest
import torch

from memdet.models import ScoreModel, load_model
from memdet.probing import Items
from memdet.samplesets import load_sample_set

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 64


@pytest.fixture(scope="session")
def model() -> ScoreModel:
    return load_model("tiny-sd-a", device=DEVICE)


@pytest.fixture(scope="session")
def items() -> Items:
    frame = load_sample_set("tiny-sd-a-verbatim").items.head(BATCH)
    columns = (frame[name].tolist() for name in ("item_id", "condition", "cluster", "label"))
    return Items(*columns, has_prompts=True)
