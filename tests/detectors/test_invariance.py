"""Scores depend on the item and the seed, not on batches, order or memo."""

import math
import random

import pytest
import torch

from memdet.detectors import detector_classes, make_detectors
from memdet.models import load_model
from memdet.probing import SeedMemory
from memdet.zoo.tiny_sd.captions import vocabulary
from tests.helpers.problems import make_items, make_mixture, make_probe, select

# Finite differences of single-precision predictions: rounding of 1e-7 is divided by a step of 1e-3. In double precision
# the bound is the same for all detectors.
DIFFERENCES = {"curvature-gap": 2e-3, "jeon2025@backend=fd": 2e-3}
EXACT = ["wen2024", "wen2024@steps=5", "jeon2025@power=1", "hessian-trace@probes=1", "hessian-trace@probes=1,t=500"]
EXACT += ["jeon2024-eigenvalues@krylov=2", "random"]
WAYS = {
    "batches of 1": {"size": 1, "first": 6},
    "batches of 7": {"size": 7},
    "shuffled batches of 7": {"size": 7, "shuffle": True},
    "no memo": {"size": 64, "memo": False},
}


def prompts():
    rng = random.Random(0)
    return [" ".join(rng.choices(vocabulary(), k=4)) for _ in range(20)]


def score_all(model, items, noise, size=64, shuffle=False, memo=True, first=20):
    """Scores of every detector by item, of the first few items only if they are many batches."""
    order = list(range(first))
    if shuffle:
        random.Random(1).shuffle(order)
    found, memory = {}, SeedMemory()
    detectors = make_detectors([*EXACT, *DIFFERENCES], detector_classes())
    for start in range(0, len(order), size):
        batch = select(items, order[start : start + size])
        probe = make_probe(model, batch, steps=10, noise=noise, n_items=len(items), memory=memory, memo=memo)
        for detector in detectors:
            with probe.charge():
                scores = detector.score(probe).double().tolist()
            found.update({(detector.label, name): score for name, score in zip(batch.ids, scores, strict=True)})
    return found


def assert_same(got, expected, double=False):
    assert {label for label, _ in got} == {label for label, _ in expected}
    for (label, name), score in got.items():
        assert math.isfinite(score)
        # Relative to the detector's largest score: a trace is a sum of terms that cancel.
        scale = max(abs(value) for (other, _), value in expected.items() if other == label)
        close = pytest.approx(expected[label, name], rel=0, abs=scale * DIFFERENCES.get(label, 1e-5))
        if double:
            close = pytest.approx(expected[label, name], rel=1e-5)
        assert score == close, (label, name)


def small_latents(directory, dtype):
    model = load_model(directory, dtype=dtype)
    model.latent_shape = (4, 4, 4)  # the network takes any size
    return model


@pytest.fixture(scope="module", params=["shared", "per-item"])
def of_pipeline(request, random_pipeline):
    model, items = small_latents(random_pipeline, torch.float32), make_items(prompts(), has_prompts=True)
    return model, items, request.param, score_all(model, items, request.param)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_pipeline(of_pipeline, way):
    model, items, noise, reference = of_pipeline
    assert_same(score_all(model, items, noise, **WAYS[way]), reference)


@pytest.fixture(scope="module", params=["shared", "per-item"])
def of_pipeline_in_double(request, random_pipeline):
    model, items = small_latents(random_pipeline, torch.float64), make_items(prompts(), has_prompts=True)
    return model, items, request.param, score_all(model, items, request.param)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_pipeline_in_double_precision(of_pipeline_in_double, way):
    """Every score for itself, finite differences included."""
    model, items, noise, reference = of_pipeline_in_double
    assert_same(score_all(model, items, noise, **WAYS[way]), reference, double=True)


@pytest.fixture(scope="module", params=["shared", "per-item"])
def of_mixture(request):
    model = make_mixture("fewer components than dimensions", dtype=torch.float32)
    items = make_items(["some", "point"] * 10)
    return model, items, request.param, score_all(model, items, request.param)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_mixture(of_mixture, way):
    model, items, noise, reference = of_mixture
    assert_same(score_all(model, items, noise, **WAYS[way]), reference)


def test_items_of_one_condition_differ_by_their_noise_alone(of_mixture):
    """The references above are not constant: equal under shared noise, different under noise of their own."""
    _, items, noise, reference = of_mixture
    same = [reference["wen2024", name] for name in items.ids[::2]]
    assert len({round(value, 9) for value in same}) == (1 if noise == "shared" else len(same))
