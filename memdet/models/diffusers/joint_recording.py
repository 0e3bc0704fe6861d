"""How a transformer's image tokens attend to its text, read from the calls of its attention kernel.

Cross-attention layers are told the text apart (PixArt, Sana). The blocks of an MMDiT (Stable Diffusion 3, Flux,
AuraFlow, Qwen-Image) attend jointly to image and text: there the block of image queries and text keys is taken out of
the joint softmax, so that its rows sum to the share of attention that goes to the text. Blocks that see one sequence of
both, as the single-stream blocks of Flux, tell nobody which token is which and are not read.

Queries and keys are those that reach ``scaled_dot_product_attention``, with norms, rotations and masks. Their softmax
is computed beside the kernel, whose answer is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from memdet.errors import NotApplicableError
from memdet.models.diffusers.recording import AttentionLayer

_KERNEL = torch.nn.functional.scaled_dot_product_attention


@dataclass
class _Running:
    """An attention layer on the way: its name, what it is told, and the values of its image tokens."""

    name: str
    is_joint: bool
    text_length: int
    values: list[Tensor] = field(default_factory=list)


def record_attention_to_text(
    network: nn.Module, forward: Callable[[], Tensor], size: tuple[int, int]
) -> tuple[Tensor, list[AttentionLayer]]:
    """Run a forward of a transformer and read how its image tokens attend to the text, in the order of execution.

    Args:
        network: Whose attention layers are read: modules with the projections ``to_q``, ``to_k`` and ``to_v`` that are
            told ``encoder_hidden_states``.
        forward: Calls the network once.
        size: Height and width of the latents, or of the tokens.

    Returns:
        What ``forward`` returned, unchanged, and the layers. Weights of a joint layer sum to less than 1 over the
        tokens: the rest goes to the image.

    Raises:
        NotApplicableError: The network has no such layer.
    """
    running: list[_Running] = []
    kernel = _Kernel(running, size)
    with _watched(network, running), kernel:
        output = forward()
    if not kernel.found:
        raise NotApplicableError("the network has no attention to text that can be read")
    return output, kernel.found


class _Kernel(TorchFunctionMode):
    """Looks at every call of the attention kernel inside a layer that is told a text."""

    def __init__(self, running: list[_Running], size: tuple[int, int]) -> None:
        super().__init__()
        self._running, self._size = running, size
        self.found: list[AttentionLayer] = []

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        told = dict(kwargs or {})
        if function is _KERNEL and self._running and self._running[-1].text_length:
            self._look(self._running[-1], *args, **told)
        return function(*args, **told)

    def _look(  # as the kernel's own arguments are
        self,
        layer: _Running,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> None:
        text = layer.text_length
        pixels, tokens = slice(None), slice(None)
        if layer.is_joint:
            order = _order(layer, value)
            if order is None:
                return
            pixels, tokens = order
        elif key.shape[-2] != text:
            return
        height, width = self._size
        query = query[:, :, pixels]
        factor = round((height * width / query.shape[2]) ** 0.5)
        grid = (height // factor, width // factor) if factor else (0, 0)
        if is_causal or enable_gqa or query.ndim != 4 or query.shape[2] < 2 or grid[0] * grid[1] != query.shape[2]:
            return
        mask = None if attn_mask is None else attn_mask[..., pixels, :] if attn_mask.shape[-2] > 1 else attn_mask
        weights = _softmax(query, key, mask, scale)[..., tokens].mean(dim=1)
        self.found.append(AttentionLayer(layer.name, weights.view(len(weights), *grid, -1)))


def _softmax(query: Tensor, key: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Softmax of the scaled products, in float32 or better, ``[batch, heads, queries, keys]``."""
    kind = torch.promote_types(query.dtype, torch.float32)
    logits = (query.to(kind) @ key.to(kind).transpose(2, 3)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if mask is not None:
        logits = logits.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else logits + mask.to(kind)
    return torch.softmax(logits, dim=3)


def _order(layer: _Running, value: Tensor) -> tuple[slice, slice] | None:
    """Where the image's tokens are in a joint sequence, and where the text's; None where neither order fits.

    Values are neither normed nor rotated on the way to the kernel, so those of the image are found again.
    """
    if not layer.values:
        return None
    own, joint = layer.values[-1], value.transpose(1, 2).flatten(2)
    count, text = own.shape[1], layer.text_length
    if joint.shape[1] != count + text:
        return None
    if torch.equal(joint[:, :count], own):
        return slice(0, count), slice(count, None)
    if torch.equal(joint[:, text:], own):
        return slice(text, None), slice(0, text)
    return None


@contextmanager
def _watched(network: nn.Module, running: list[_Running]) -> Iterator[None]:
    """Inside, the last of ``running`` is the attention layer that is being computed."""
    handles = []

    def start(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            told = dict(zip(("hidden_states", "encoder_hidden_states"), arguments, strict=False)) | named
            text = told.get("encoder_hidden_states")
            is_apart = isinstance(text, Tensor) and text is not told.get("hidden_states")
            is_joint = getattr(module, "add_k_proj", None) is not None
            running.append(_Running(name, is_joint, text.shape[1] if isinstance(text, Tensor) and is_apart else 0))

        return hook

    def keep(module: nn.Module, arguments: Any, output: Tensor) -> None:
        running[-1].values.append(output)

    def end(module: nn.Module, arguments: Any, output: Any) -> None:
        running.pop()

    try:
        for name, module in network.named_modules():
            if all(isinstance(getattr(module, part, None), nn.Module) for part in ("to_q", "to_k", "to_v")):
                handles.append(module.register_forward_pre_hook(start(name), with_kwargs=True))
                handles.append(module.to_v.register_forward_hook(keep))
                handles.append(module.register_forward_hook(end, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
