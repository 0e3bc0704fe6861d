"""What a probe reads inside a network: attention, the middle block, the embedding; and the end of a trajectory."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

from memdet.errors import NotApplicableError
from memdet.models import Condition, load_model
from memdet.probing import SeedMemory
from tests.helpers.problems import make_items, make_mixture, make_probe

PROMPTS = ["a red bag", "", "velvet mug near the lake a12"]


@pytest.fixture
def probe(random_model):
    return make_probe(random_model, make_items(PROMPTS, has_prompts=True), steps=4, guidance=2.0)


class Recorder(AttnProcessor):
    """Keeps the probabilities of cross-attention, as diffusers computes them."""

    def __init__(self, store):
        super().__init__()
        self.store = store

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, **rest):
        if encoder_hidden_states is not None:
            query = attn.head_to_batch_dim(attn.to_q(hidden_states))
            key = attn.head_to_batch_dim(attn.to_k(encoder_hidden_states))
            probabilities = attn.get_attention_scores(query, key)
            self.store.append(probabilities.view(len(hidden_states), attn.heads, *probabilities.shape[1:]).mean(1))
        return super().__call__(attn, hidden_states, encoder_hidden_states, **rest)


@pytest.mark.parametrize("processor", [AttnProcessor, AttnProcessor2_0])
def test_attention_is_what_diffusers_computes(probe, processor):
    unet, x, t = probe.model._unet, probe.noise, probe.timesteps[0]
    unet.set_attn_processor(processor())
    found = probe.attention(x, t, "cond")
    stored = []
    unet.set_attn_processor(Recorder(stored))
    probe.model.eps(x, t, probe.model.embed(PROMPTS))
    unet.set_attn_processor(AttnProcessor2_0())
    assert [layer.name.split(".")[0] for layer in found] == ["down_blocks", "mid_block", "up_blocks", "up_blocks"]
    for layer, expected in zip(found, stored, strict=True):
        torch.testing.assert_close(layer.weights.flatten(1, 2), expected, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(layer.weights.sum(3), torch.ones(layer.weights.shape[:3]))
    assert found[0].weights.shape == (3, 8, 8, 12)
    assert not any(module._forward_hooks for module in unet.modules())


def test_hooks_are_gone_after_a_failure(probe, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("no")

    monkeypatch.setattr(probe.model, "predict", fail)
    with pytest.raises(RuntimeError):
        probe.attention(probe.noise, probe.timesteps[0], "cond")
    assert not any(module._forward_hooks for module in probe.model._unet.modules())


@pytest.mark.parametrize("kind", ["attention", "bottleneck"])
def test_a_recorded_forward_is_paid_once(probe, kind):
    x, t = probe.noise, probe.timesteps[0]
    plain = probe.model.eps(x, t, probe.model.embed(PROMPTS))
    with probe.charge() as first:
        getattr(probe, kind)(x, t, "cond")
        torch.testing.assert_close(probe.eps(x, t, "cond"), plain)
    with probe.charge() as second:
        getattr(probe, kind)(x, t, "cond")
    with probe.charge() as third:
        probe.eps(x, t, "cond")
    assert (first.forwards, second.forwards, third.forwards) == (1, 1, 1)


def test_the_middle_block(probe):
    activation = probe.bottleneck(probe.noise, probe.timesteps[0], "cond")
    assert activation.shape == (3, 96, 4, 4)
    assert probe.bottleneck(probe.noise, probe.timesteps[0], "cond") is activation


def test_end_tokens(probe):
    # start, the words, end; "a12" is a letter and a number
    assert probe.end_positions.tolist() == [4, 1, 8]


def test_derivative_along_the_condition(random_pipeline):
    model = load_model(random_pipeline, dtype=torch.float64)
    probe = make_probe(model, make_items(PROMPTS, has_prompts=True), steps=4)
    x, t = probe.noise, probe.timesteps[1]
    with probe.charge() as cost:
        found = probe.embedding_product(x, t)
    condition, null = model.embed(PROMPTS).tensor, model.embed_null().tensor
    h = 1e-5

    def score(encoded):
        return model.score(x, t, Condition.of(encoded, "encoder_hidden_states"))

    with torch.no_grad():
        ahead, behind = (score(condition + sign * h * (condition - null)) for sign in (1, -1))
    torch.testing.assert_close(found, (ahead - behind) / (2 * h), atol=1e-7, rtol=1e-6)
    assert (cost.forwards, cost.jvps) == (0, 1)
    assert found[1].abs().max() == 0  # the empty prompt is the null condition


def test_generations_are_decoded_ends_of_trajectories(probe):
    with probe.charge() as cost:
        image = probe.generated()
    assert cost.forwards == pytest.approx(3 + 4 + 1 / 3)  # all but the shared first null prediction
    assert image.shape == (3, 1, 32, 32)
    assert 0 <= image.min() < image.max() <= 1
    torch.testing.assert_close(image, probe.model.decode(probe.trajectory().clean()))
    assert not torch.equal(probe.generated(draw=1), image)


@pytest.mark.parametrize("noise", ["shared", "per-item"])
def test_further_draws_are_those_of_far_seeds(noise):
    model, items = make_mixture("more components than dimensions"), make_items(["some", "tight"])
    probe, far = (make_probe(model, items, seed=seed, noise=noise) for seed in (3, 2_000_003))
    assert torch.equal(probe.starting_noise(2), far.noise)
    assert torch.equal(probe.starting_noise(0), probe.noise)
    assert not torch.equal(probe.starting_noise(1), probe.noise)


def test_what_a_model_does_not_have():
    probe = make_probe(make_mixture("more components than dimensions"), make_items(["some"]))
    for ask in (probe.attention, probe.bottleneck):
        with pytest.raises(NotApplicableError):
            ask(probe.noise, probe.timesteps[0], "cond")
    with pytest.raises(NotApplicableError, match="does not generate images"):
        probe.generated()
    with pytest.raises(NotApplicableError, match="training images"):
        _ = probe.training_images
    pixel = make_probe(load_model("fashion-pixel"), make_items(["trouser"]))
    with pytest.raises(NotApplicableError, match="class number"):
        pixel.embedding_product(pixel.noise, pixel.timesteps[0])


def test_training_images_of_planted_models():
    model = load_model("fashion-pixel")
    probe = make_probe(model, make_items(["trouser"]), steps=2)
    images = probe.training_images
    assert images.shape == (3_001, 1, 16, 16)
    assert 0 <= images.min() < images.max() <= 1
    distances, where = probe.nearest_training(3)
    assert distances.shape == where.shape == (1, 3)
    expected = (images[where[0]] - probe.generated()).double().square().mean(dim=(1, 2, 3)).sqrt()
    torch.testing.assert_close(distances[0], expected, atol=1e-6, rtol=1e-6)
    with pytest.raises(NotApplicableError, match="3002 neighbours are asked for, and 3001"):
        probe.nearest_training(3_002)


# Constants from the dev split


def test_calibration_sees_the_dev_items_alone_and_once():
    model, seen = make_mixture("more components than dimensions"), []
    items, dev = make_items(["some"] * 3), make_items(["tight", "some"], labels=[1, 0])
    memory = SeedMemory()
    probe = make_probe(model, items, dev=dev, seed=4, memory=memory)

    def fit(other):
        seen.append((list(other.labels), other.noise.clone(), len(other)))
        other.eps(other.noise, other.timesteps[0], "cond")
        return 3.5

    with probe.charge() as cost:
        assert probe.calibrate("mine", fit) == 3.5
    assert make_probe(model, items, dev=dev, seed=4, memory=memory).calibrate("mine", fit) == 3.5
    assert len(seen) == 1
    assert seen[0][0] == [1, 0]
    assert seen[0][2] == 2
    assert torch.equal(seen[0][1][0], probe.noise[0])
    assert cost.forwards == 0
    with pytest.raises(PermissionError):
        _ = probe.labels


@pytest.mark.parametrize("dev", [None, make_items([])])
def test_no_dev_split(dev):
    probe = make_probe(make_mixture("more components than dimensions"), make_items(["some"]), dev=dev)
    with pytest.raises(NotApplicableError, match="no dev split"):
        probe.calibrate("mine", len)
