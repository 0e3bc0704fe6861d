"""What a UNet computes on the way to its output: cross-attention and the bottleneck, read by hooks.

The attention weights are computed again from the queries and keys that the layer itself projected, so that they are
there whatever attention processor or kernel is in use. The hooks are gone when the forward is over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memdet.errors import NotApplicableError


@dataclass(frozen=True)
class AttentionLayer:
    """How one layer's image tokens attend to the text, averaged over its heads.

    Attributes:
        name: Path of the module in the network, e.g. ``down_blocks.0.attentions.0.transformer_blocks.0.attn2``.
        weights: ``[batch, height, width, tokens]``. Of cross-attention they sum to 1 over the tokens. Of joint
            attention (MMDiT) they are the image-to-text block of the joint softmax, and sum to the share that goes to
            the text.
    """

    name: str
    weights: Tensor


def record_cross_attention(
    network: nn.Module, forward: Callable[[], Tensor], size: tuple[int, int]
) -> tuple[Tensor, list[AttentionLayer]]:
    """Run a forward and read the cross-attention of every layer, in the order of execution.

    Args:
        network: Whose layers are read: modules named ``attn2`` with the projections ``to_q`` and ``to_k``.
        forward: Calls the network once.
        size: Height and width of the latents.

    Returns:
        What ``forward`` returned, and the layers.

    Raises:
        NotApplicableError: The network has no such layer.
    """
    found: dict[str, dict[str, Tensor]] = {}
    layers = {name: module for name, module in network.named_modules() if name.endswith("attn2")}
    handles = []

    def keep(name: str, part: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            found.setdefault(name, {})[part] = output

        return hook

    try:
        for name, module in layers.items():
            for part in ("to_q", "to_k"):
                projection = getattr(module, part, None)
                if projection is not None:
                    handles.append(projection.register_forward_hook(keep(name, part)))
        output = forward()
    finally:
        for handle in handles:
            handle.remove()
    recorded = [
        AttentionLayer(name, _weights(layers[name], parts["to_q"], parts["to_k"], size))
        for name, parts in found.items()
        if len(parts) == 2
    ]
    if not recorded:
        raise NotApplicableError("the network has no cross-attention that can be read")
    return output, recorded


def record_output(module: nn.Module, forward: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """Run a forward and read what one module of the network returned.

    Returns:
        What ``forward`` returned, and the module's output.
    """
    outputs: list[Tensor] = []

    def hook(_: nn.Module, inputs: Any, output: Any) -> None:
        outputs.append(output[0] if isinstance(output, tuple) else output)

    handle = module.register_forward_hook(hook)
    try:
        result = forward()
    finally:
        handle.remove()
    return result, outputs[-1]


def _weights(layer: Any, query: Tensor, key: Tensor, size: tuple[int, int]) -> Tensor:
    """Softmax of the scaled products of queries ``[batch, pixels, d]`` and keys, averaged over heads."""
    batch, pixels, _ = query.shape
    q, k = (part.view(batch, part.shape[1], layer.heads, -1).transpose(1, 2) for part in (query, key))
    for part, norm in (("q", getattr(layer, "norm_q", None)), ("k", getattr(layer, "norm_k", None))):
        if norm is not None:
            q, k = (norm(q), k) if part == "q" else (q, norm(k))
    logits = (q.float() @ k.float().transpose(2, 3)) * layer.scale
    height, width = size
    factor = round((height * width / pixels) ** 0.5)
    return torch.softmax(logits, dim=3).mean(dim=1).view(batch, height // factor, width // factor, -1)
