"""How transformers attend to the text: recorded maps against softmax(Q K^T) of the layers' own projections."""

from __future__ import annotations

import pytest
import torch

from memdet.errors import NotApplicableError
from memdet.models import load_model
from tests.helpers.tiny_pipelines import save, small_images

TEXTS = ["plain coat", "a red dress and a bag"]
CROSS = {"pixart", "sana"}
LATER = ("auraflow", "qwen-image", "sana")
NAMES = ["sd3", "flux", "pixart", *(pytest.param(name, marks=pytest.mark.slow) for name in LATER)]
PROJECTIONS = ("to_q", "to_k", "add_q_proj", "add_k_proj")


@pytest.fixture(scope="module", params=NAMES)
def model(request, tmp_path_factory):
    with small_images():
        return load_model(save(request.param, tmp_path_factory.mktemp("attention")), dtype=torch.float64)


def asked(model):
    x = torch.randn(2, *model.latent_shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return x, model.schedule.timesteps(4)[1], model.embed(TEXTS)


class Watch:
    """What one attention layer is told, and what its projections give."""

    def __init__(self, layer):
        self.layer, self.parts, self.told = layer, {}, {}
        handles = [layer.register_forward_pre_hook(self.note, with_kwargs=True)]
        for part in PROJECTIONS:
            if getattr(layer, part, None) is not None:
                handles.append(getattr(layer, part).register_forward_hook(self.keep(part)))
        self.handles = handles

    def end(self):
        for handle in self.handles:
            handle.remove()

    def note(self, module, arguments, named):
        self.told = dict(zip(("hidden_states", "encoder_hidden_states"), arguments, strict=False)) | named

    def keep(self, part):
        return lambda module, arguments, output: self.parts.update({part: output})

    def heads(self, part, norm):
        """Of a projection, ``[batch, length, heads, d]``, normed as the layer norms it."""
        split = self.parts[part].unflatten(-1, (self.layer.heads, -1))
        own = getattr(self.layer, norm, None)
        return split if own is None else own(split.transpose(1, 2)).transpose(1, 2)


def turned(name, told, image, text):
    """Image and text parts as the rotary embedding of the family turns them; one of both for Flux."""
    rope = told.get("image_rotary_emb")
    if name == "flux":
        from diffusers.models.embeddings import apply_rotary_emb

        joint = apply_rotary_emb(torch.cat([text, image], dim=1), rope, sequence_dim=1)
        return joint[:, text.shape[1] :], joint[:, : text.shape[1]]
    if name == "qwen-image":
        from diffusers.models.transformers.transformer_qwenimage import apply_rotary_emb_qwen

        return tuple(
            apply_rotary_emb_qwen(x, part, use_real=False) for x, part in zip((image, text), rope, strict=True)
        )
    return image, text


def directly(name, watch):
    """The image-to-text block of the joint softmax, or the whole of the cross-attention's, averaged over heads."""
    image_q, image_k = watch.heads("to_q", "norm_q"), watch.heads("to_k", "norm_k")
    bias = torch.zeros(())
    if name in CROSS:
        keys, text = image_k, image_k.shape[1]
        bias = watch.told["attention_mask"][:, None]  # [batch, 1, 1, tokens], 0 or -10,000
    else:
        text_q, text_k = watch.heads("add_q_proj", "norm_added_q"), watch.heads("add_k_proj", "norm_added_k")
        image_q, _ = turned(name, watch.told, image_q, text_q)
        image_k, text_k = turned(name, watch.told, image_k, text_k)
        keys, text = torch.cat([text_k, image_k], dim=1), text_k.shape[1]
        mask = watch.told.get("encoder_hidden_states_mask")
        if mask is not None:
            whole = torch.cat([mask.bool(), torch.ones(2, image_k.shape[1], dtype=torch.bool)], dim=1)
            bias = torch.zeros(whole.shape, dtype=torch.float64).masked_fill(~whole, -torch.inf)[:, None, None]
    logits = torch.einsum("bqhd,bkhd->bhqk", image_q.double(), keys.double()) / image_q.shape[-1] ** 0.5
    return torch.softmax(logits + bias, dim=3)[..., :text].mean(dim=1)


@torch.no_grad()
def test_maps_are_the_softmax_of_the_layers_own_products(model):
    name = model.family.name
    x, t, cond = asked(model)
    output, layers = model.attention(x, t, cond)
    torch.testing.assert_close(output, model.predict(x, t, cond), rtol=1e-5, atol=0)
    (found,) = layers
    watch = Watch(model._network.get_submodule(found.name))
    model.predict(x, t, cond)
    watch.end()
    expected = directly(name, watch)
    torch.testing.assert_close(found.weights.flatten(1, 2).double(), expected, rtol=1e-5, atol=1e-9)
    side = round(expected.shape[1] ** 0.5)
    assert found.weights.shape[:3] == (2, side, side)
    sums = found.weights.sum(dim=3)
    if name in CROSS:
        torch.testing.assert_close(sums, torch.ones_like(sums))
    else:
        assert 0 < sums.min() < sums.max() < 1  # the rest goes to the image


@torch.no_grad()
def test_nothing_is_left_on_the_network(model):
    x, t, cond = asked(model)
    model.attention(x, t, cond)
    hooks = [module._forward_hooks or module._forward_pre_hooks for module in model._network.modules()]
    assert not any(hooks)


@torch.no_grad()
def test_the_prompt_moves_what_its_own_item_attends_to(model):
    x, t, cond = asked(model)
    alone = model.attention(x[:1], t, model.embed(TEXTS).rows(slice(1)))[1][0].weights
    beside = model.attention(x, t, cond)[1][0].weights
    torch.testing.assert_close(alone, beside[:1], rtol=1e-6, atol=1e-9)
    assert (beside[0] - beside[1]).abs().max() > 1e-6


@torch.no_grad()
def test_a_kernel_that_nobody_can_look_into_is_not_applicable(tmp_path):
    """A layer whose projections were fused has no values of the image alone."""
    model = load_model(save("sd3", tmp_path), dtype=torch.float64)
    model._network.fuse_qkv_projections()
    with pytest.raises(NotApplicableError, match="no attention to text that can be read"):
        model.attention(*asked(model))
