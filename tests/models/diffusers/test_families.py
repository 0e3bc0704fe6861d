"""Pipelines of many families against diffusers itself, on tiny random networks of their own classes."""

from __future__ import annotations

import json

import pytest
import torch

from memdet.models.diffusers.captured import CapturedModel
from memdet.models.diffusers.families import families, family_of
from memdet.probing import Context, Items, Probe
from memdet.samplesets import Protocol
from tests.helpers.tiny_pipelines import FAMILIES, save

GUIDANCE, STEPS = 3.0, 4


@pytest.fixture(scope="module", params=FAMILIES)
def directory(request, tmp_path_factory):
    return save(request.param, tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def pipeline(directory):
    from diffusers import DiffusionPipeline

    index = json.loads((directory / "model_index.json").read_text())
    absent = {name: None for name, value in index.items() if value == [None, None]}
    pipeline = DiffusionPipeline.from_pretrained(directory, torch_dtype=torch.float64, **absent).to(torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def model(directory, pipeline):
    return CapturedModel(directory, family_of(type(pipeline).__name__), dtype=torch.float64)


def conditions(model):
    return ["plain coat", "a red dress"] if model.takes_prompts else ["3", "7"]


def seen_by(pipeline, model, steps, latents):
    """What the pipeline's own loop gives its network and gets from it, and the latents at the end."""
    network = getattr(pipeline, model._family.denoiser)
    calls = []

    def keep(module, arguments, named, output):
        x = arguments[0] if arguments else named[model._family.latent]
        calls.append((x.clone(), output[0].clone()))

    hook = network.register_forward_hook(keep, with_kwargs=True)
    told = model._family.told(pipeline, conditions(model)) | {"num_inference_steps": steps, "guidance_scale": GUIDANCE}
    if model.takes_prompts:
        told |= {"latents": latents, "output_type": "latent"}
    try:
        end = pipeline(**told, generator=torch.Generator().manual_seed(0))[0]
    finally:
        hook.remove()
    return calls, end


def probe_of(model, steps):
    texts = conditions(model)
    items = Items(["a", "b"], texts, ["a", "b"], [0, 1], model.takes_prompts)
    return Probe(model, items, Context(Protocol(steps=steps, guidance=GUIDANCE, seeds=1, noise="per-item")))


def test_predictions_are_what_the_pipelines_loop_sees(model, pipeline):
    probe = probe_of(model, STEPS)
    calls, _ = seen_by(pipeline, model, STEPS, probe.noise)
    cond, null = model.embed(conditions(model)), model.embed_null()
    null_first = model._family.takes_prompts  # the halves of one call; DiT has the condition first
    for index in (0, STEPS // 2, STEPS - 1):
        x, output = calls[index]
        t, halves = model.schedule.timesteps(STEPS)[index], x.chunk(2)
        for half, branch in zip(halves, (null, cond) if null_first else (cond, null), strict=True):
            expected = output.chunk(2)[0 if half is halves[0] else 1]
            found = model.predict(half, t, branch)
            torch.testing.assert_close(found, expected[:, : found.shape[1]], rtol=1e-6, atol=1e-6)


def test_the_trajectory_ends_where_the_pipelines_sampler_ends(model, pipeline):
    if not model.takes_prompts:
        pytest.skip("the pipeline takes no starting latents")
    probe = probe_of(model, STEPS)
    start = probe.trajectory().state(0)
    _, end = seen_by(pipeline, model, STEPS, start)
    torch.testing.assert_close(probe.trajectory().clean(), end, rtol=1e-4, atol=1e-4)


def test_decoding_is_the_autoencoders(model):
    x0 = probe_of(model, STEPS).noise
    image = model.decode(x0)
    assert image.shape == (2, 3, 16, 16)
    assert 0 <= image.min() < image.max() <= 1


def test_every_family_is_in_one_file_and_tested():
    assert {family.name for family in families()} >= set(FAMILIES)
