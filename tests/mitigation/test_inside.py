"""Cross-attention that works otherwise for a while, against truncated texts, edited weights and plain loops."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from memdet.errors import NotApplicableError
from memdet.mitigation import make_mitigation, mitigation_classes
from memdet.mitigation.inside import _Rescaled, activations, rescaled_attention, silenced
from memdet.mitigation.methods.nemo2024_neurons import _alike, _excited, _refined
from memdet.mitigation.sampler import Sampler
from memdet.probing import Context, Items
from memdet.samplesets import Protocol
from tests.helpers.problems import make_items

CAPTIONS = ["alderon plain dress on white a01", "birkwell soft bag at sale b02"]


def layer(heads=2, width=6, text_width=5):
    torch.manual_seed(0)
    linear = torch.nn.Linear
    return SimpleNamespace(
        heads=heads,
        scale=1 / math.sqrt(width / heads),
        norm_cross=None,
        to_q=linear(width, width, bias=False),
        to_k=linear(text_width, width, bias=False),
        to_v=linear(text_width, width, bias=False),
        to_out=[linear(width, width), torch.nn.Identity()],
        residual_connection=True,
        rescale_output_factor=2.0,
    )


def test_attention_by_plain_loops():
    attn = layer()
    pixels, text = torch.randn(1, 3, 6), torch.randn(1, 4, 5)
    blocked = torch.tensor([[False, False, False, True]])
    found = _Rescaled(1.25, blocked)(attn, pixels, text)
    q, k, v = attn.to_q(pixels[0]), attn.to_k(text[0]), attn.to_v(text[0])
    rows = []
    for pixel in range(3):
        parts = []
        for head in range(2):
            own = slice(3 * head, 3 * head + 3)
            logits = [float(q[pixel, own] @ k[token, own]) / math.sqrt(3) for token in range(3)]
            logits[0] *= 1.25
            weights = [math.exp(logit) for logit in logits]
            parts.append(sum(w * v[token, own] for token, w in enumerate(weights)) / sum(weights))
        rows.append((attn.to_out[0](torch.cat(parts)) + pixels[0, pixel]) / 2)
    torch.testing.assert_close(found[0], torch.stack(rows), rtol=1e-5, atol=1e-6)


def test_neurons_and_layers_that_are_not_needed_are_on_again():
    def likeness(off):
        return 0.1 if 2 in off["down"] else 0.9

    assert _refined({"down": [1, 2], "mid": [3], "late": []}, likeness, 0.428, 50) == {
        "down": [2],
        "mid": [],
        "late": [],
    }
    assert _refined({"down": [1, 2], "mid": [3]}, likeness, 0.428, 1) == {"down": [1, 2], "mid": []}
    assert _refined({"down": [1, 2]}, likeness, 0.428, 0) == {"down": [1, 2]}


def test_excited_neurons():
    reference = {"down": (torch.zeros(4), torch.ones(4)), "mid": (torch.full((2,), 5.0), torch.full((2,), 2.0))}
    own = {"down": torch.tensor([0.5, 6.0, -5.5, 4.0]), "mid": torch.tensor([1.0, 9.0])}
    assert _excited(own, reference, 5.0, 0) == {"down": [1, 2], "mid": []}
    assert _excited(own, reference, 1.5, 1) == {"down": [1, 2, 3], "mid": [0, 1]}


def test_which_noises_lead_alike():
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.rand(2, 8, 8, generator=generator).double().numpy() for _ in "ab")
    assert _alike([one, other, one], 0.428) == [0, 2]
    assert _alike([one, other], 0.428) == []


def sampler_of(model, *, dev=None, steps=2):
    protocol = Protocol(steps=steps, guidance=2.0, seeds=1, noise="shared")
    return Sampler.of(model, make_items(CAPTIONS, has_prompts=True), Context(protocol), dev=dev)


@pytest.mark.slow
def test_plain_attention_is_the_network_s_own_and_blocked_tokens_are_not_there(random_model):
    sampler = sampler_of(random_model)
    x, t, layers = sampler.start(), sampler.timesteps[0], random_model.cross_attention()
    tokens, condition = sampler.embedding.shape[1], sampler.condition
    nothing = torch.zeros(2, tokens, dtype=torch.bool)
    own = sampler.output(x, t, condition)
    with rescaled_attention(layers, 1.0, nothing):
        torch.testing.assert_close(sampler.output(x, t, condition), own, rtol=1e-4, atol=1e-5)
    blocked = nothing.clone()
    blocked[:, 5:] = True
    shorter = sampler.with_embedding(sampler.embedding[:, :5])
    with rescaled_attention(layers, 1.0, blocked):
        cut = sampler.output(x, t, condition)
    torch.testing.assert_close(cut, sampler.output(x, t, shorter), rtol=1e-4, atol=1e-5)
    assert (cut - own).abs().max() > 1e-4
    torch.testing.assert_close(sampler.output(x, t, condition), own, rtol=0, atol=0)  # as it was


@pytest.mark.slow
def test_a_silenced_neuron_is_a_row_of_zeros(random_model):
    sampler = sampler_of(random_model)
    x, t, layers = sampler.start(), sampler.timesteps[0], random_model.cross_attention()
    path, one = next(iter(layers.items()))
    own = sampler.output(x, t, sampler.condition)
    with silenced(layers, {path: [0, 3]}):
        found = sampler.output(x, t, sampler.condition)
    kept = one.to_v.weight.data.clone()
    try:
        one.to_v.weight.data[[0, 3]] = 0
        expected = sampler.output(x, t, sampler.condition)
    finally:
        one.to_v.weight.data.copy_(kept)
    torch.testing.assert_close(found, expected)
    assert (found - own).abs().max() > 1e-6
    first = activations(layers, sampler.embedding)[path]
    torch.testing.assert_close(first, one.to_v(sampler.embedding).abs().mean(1).detach())


@pytest.mark.slow
def test_methods_that_look_inside_run_on_a_network(random_model):
    """Of a random network no two predictions are alike enough, or some are: either way it generates."""
    classes = mitigation_classes()
    ids = [f"d{index}" for index in range(3)]
    dev = Items(
        ids, ["alderon soft coat at sale c03", "dovero slim bag on white d04", CAPTIONS[0]], ids, [0, 0, 1], True
    )
    sampler = sampler_of(random_model, dev=dev)
    for text in ("nemo2024-neurons@draws=2,refined=1", "ren2024-mitigation@sink=any", "somepalli2023"):
        found = make_mitigation(text, classes).sample(sampler)
        assert found.shape == sampler.start().shape
        assert torch.isfinite(found).all()
    with pytest.raises(NotApplicableError, match="takes"):
        make_mitigation("ren2024-mitigation", classes).sample(sampler)
    with pytest.raises(NotApplicableError, match="no dev split"):
        make_mitigation("nemo2024-neurons", classes).sample(sampler_of(random_model))


@pytest.mark.slow
def test_random_words_are_put_into_the_caption(random_model):
    classes = mitigation_classes()
    sampler = sampler_of(random_model)
    known = set(random_model.vocabulary())
    for text, is_new in (
        ("somepalli2023", lambda word, _: word in known),
        ("somepalli2023@change=numbers", lambda word, _: word.isdecimal() and int(word) < 100_000),
        ("somepalli2023@change=repeat,repeats=2", lambda word, caption: word in caption.split()),
    ):
        method = make_mitigation(text, classes)
        changed = method.captions(sampler)
        assert changed == method.captions(sampler)
        for caption, other in zip(CAPTIONS, changed, strict=True):
            words, left = other.split(" "), caption.split(" ")
            assert len(words) == len(left) + method.repeats
            for word in left:
                words.remove(word)
            assert all(is_new(word, caption) for word in words)


@pytest.mark.slow
def test_encode_and_decode_are_each_other_s_inverse_in_scale(random_model):
    """The autoencoder is random, so that only shapes and scales can be told."""
    images = torch.rand(3, 1, 32, 32)
    latents = random_model.encode(images)
    assert latents.shape == (3, *random_model.latent_shape)
    assert not latents.requires_grad
    vae = random_model._autoencoder()
    mean = vae.encode(2 * images - 1).latent_dist.mean
    torch.testing.assert_close(latents, mean * vae.config.scaling_factor)
