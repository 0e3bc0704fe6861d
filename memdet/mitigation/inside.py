"""Networks whose cross-attention works otherwise for a while: rescaled logits, neurons that are off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Layers = Mapping[str, nn.Module]


@contextmanager
def rescaled_attention(layers: Layers, factor: float, blocked: Tensor) -> Iterator[None]:
    """Inside, the logits of the first token are multiplied, and some tokens get no attention.

    Args:
        layers: From :meth:`memdet.models.ScoreModel.cross_attention`.
        factor: Of the first token's logits.
        blocked: Tokens without attention, ``[batch, tokens]``; the batch is that of every call inside.
    """
    own: list[Any] = list(layers.values())  # of diffusers' class Attention
    before = [layer.processor for layer in own]
    try:
        for layer in own:
            layer.processor = _Rescaled(factor, blocked)
        yield
    finally:
        for layer, processor in zip(own, before, strict=True):
            layer.processor = processor


class _Rescaled:
    """Plain attention to the text, as a processor of diffusers' ``Attention``."""

    def __init__(self, factor: float, blocked: Tensor) -> None:
        self._factor, self._blocked = factor, blocked

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, attention_mask: Any = None, **_: Any
    ) -> Tensor:
        """Of pixels ``[batch, pixels, width]`` to tokens ``[batch, tokens, width]``."""
        text = attn.norm_encoder_hidden_states(encoder_hidden_states) if attn.norm_cross else encoder_hidden_states
        query, key, value = (
            projected.unflatten(2, (attn.heads, -1)).transpose(1, 2)
            for projected in (attn.to_q(hidden_states), attn.to_k(text), attn.to_v(text))
        )
        logits = query @ key.transpose(2, 3) * attn.scale
        logits = torch.cat([logits[..., :1] * self._factor, logits[..., 1:]], dim=3)
        weights = logits.masked_fill(self._blocked[:, None, None, :], -torch.inf).softmax(dim=3)
        output: Tensor = attn.to_out[1](attn.to_out[0]((weights @ value).transpose(1, 2).flatten(2)))
        if attn.residual_connection:
            output = output + hidden_states
        scaled: Tensor = output / attn.rescale_output_factor
        return scaled


@contextmanager
def silenced(layers: Layers, neurons: Mapping[str, Sequence[int]]) -> Iterator[None]:
    """Inside, some outputs of value projections are 0, whatever they see.

    Args:
        layers: From :meth:`memdet.models.ScoreModel.cross_attention`.
        neurons: Output channels of ``to_v`` by the path of the layer.
    """

    def hook(chosen: list[int]) -> Any:
        def zeroed(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
            mask = torch.ones(output.shape[-1], dtype=output.dtype, device=output.device)
            mask[chosen] = 0
            return output * mask

        return zeroed

    handles = []
    try:
        for path, chosen in neurons.items():
            if chosen:
                projection: Any = layers[path].to_v
                handles.append(projection.register_forward_hook(hook(list(chosen))))
        yield
    finally:
        for handle in handles:
            handle.remove()


def activations(layers: Layers, text: Tensor) -> dict[str, Tensor]:
    """Mean absolute value of each neuron of the value projections over the tokens of texts, ``[batch, channels]``.

    A value projection sees the text alone: no forward of the network is needed.

    Args:
        layers: Whose ``to_v``.
        text: Encoded, ``[batch, tokens, width]``.
    """
    found = {}
    with torch.no_grad():
        for path, layer in layers.items():
            projection: Any = layer.to_v
            found[path] = projection(text).abs().mean(dim=1)
    return found
