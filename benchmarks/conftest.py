"""What the benchmarks share: the model, its items, and the time of its bare network calls."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from memdet.models import ScoreModel, load_model
from memdet.probing import Items
from memdet.samplesets import load_sample_set

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
BATCH = 64


def synchronise() -> None:
    """Wait for the device, so that a clock read afterwards has seen the work."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


def seconds(call: Callable[[], object], rounds: int = 7) -> float:
    """Median time of a call after one to warm up."""
    call()
    times = []
    for _ in range(rounds):
        synchronise()
        start = time.perf_counter()
        call()
        synchronise()
        times.append(time.perf_counter() - start)
    return median(times)


@pytest.fixture(scope="session")
def model() -> ScoreModel:
    return load_model("tiny-sd-a", device=DEVICE)


@pytest.fixture(scope="session")
def items() -> Items:
    frame = load_sample_set("tiny-sd-a-verbatim").items.head(BATCH)
    return Items(
        ids=frame["item_id"].tolist(),
        conditions=frame["condition"].tolist(),
        clusters=frame["cluster"].tolist(),
        labels=frame["label"].tolist(),
        has_prompts=True,
    )


@pytest.fixture
def bare(model: ScoreModel, items: Items) -> dict[str, float]:
    """Seconds of one forward and one forward-mode product of the whole batch, measured beside each benchmark."""
    embedding = model.embed(items.conditions)
    x = torch.randn(len(items), *model.latent_shape, device=DEVICE)
    v = torch.randn_like(x)

    def product() -> None:
        with sdpa_kernel(SDPBackend.MATH):
            torch.func.jvp(lambda z: model.predict(z, 981, embedding), (x,), (v,))

    with torch.no_grad():
        return {"forward": seconds(lambda: model.predict(x, 981, embedding)), "jvp": seconds(product)}
