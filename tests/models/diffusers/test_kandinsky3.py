"""Kandinsky 3: a text is read as in a call of its own, whatever else is in a batch."""

from __future__ import annotations

import pytest
import torch
from diffusers import Kandinsky3Pipeline

from memdet.models import load_model
from tests.helpers.tiny_pipelines import save, small_images

TEXTS = ["coat", "a plain red dress and a bag"]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    with small_images():
        yield save("kandinsky3", tmp_path_factory.mktemp("kandinsky3"))


@pytest.fixture(scope="module")
def model(directory):
    return load_model(directory, dtype=torch.float64)


def seen_alone(directory, text, latents):
    """What diffusers gives its network in a call of one text, and what it gets from it: null branch, then condition."""
    pipeline = Kandinsky3Pipeline.from_pretrained(directory, torch_dtype=torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    calls = []

    def keep(module, arguments, named, output):
        calls.append((arguments[0], float(arguments[1]), output[0]))

    pipeline.unet.register_forward_hook(keep, with_kwargs=True)
    pipeline(prompt=[text], guidance_scale=2.0, num_inference_steps=3, latents=latents, output_type="latent")
    return calls


@torch.no_grad()
def test_predictions_are_those_of_a_call_of_each_text_alone(directory, model):
    noise = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    cond, null = model.embed(TEXTS), model.embed_null()
    differ = []
    for row, text in enumerate(TEXTS):
        for x, t, output in seen_alone(directory, text, noise[row : row + 1]):
            of_both = x[:1].expand(2, *x.shape[1:])
            found = model.predict(of_both, int(t), cond)
            torch.testing.assert_close(found[row : row + 1], output[1:], rtol=1e-6, atol=1e-9)
            torch.testing.assert_close(model.predict(x[:1], int(t), null), output[:1], rtol=1e-6, atol=1e-9)
            differ.append(float((found[0] - found[1]).abs().max()))
    assert min(differ) > 1e-6


@torch.no_grad()
def test_the_pipelines_own_batch_reads_the_padding(directory, model):
    """What is refused of a batch of texts of several lengths: diffusers itself answers otherwise there."""
    pipeline = Kandinsky3Pipeline.from_pretrained(directory, torch_dtype=torch.float64)
    x = torch.randn(1, *model.latent_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs = []
    for texts in (TEXTS[:1], TEXTS):
        told, _, mask, _ = pipeline.encode_prompt(texts, do_classifier_free_guidance=False, _cut_context=True)
        outputs.append(pipeline.unet(x, 500, told[:1], mask[:1], return_dict=False)[0])
    assert (outputs[0] - outputs[1]).abs().max() > 1e-6
    torch.testing.assert_close(model.predict(x, 500, model.embed(TEXTS[:1])), outputs[0], rtol=1e-6, atol=1e-9)


def test_guidance_counts_from_the_null_branch(model):
    assert model.family.told_scale(4.0) == {"guidance_scale": 3.0}  # null + 4 (cond - null) = 4 cond - 3 null
