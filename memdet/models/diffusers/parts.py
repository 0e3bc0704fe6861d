"""What the parts of a pipeline are asked: latents of images, words of a tokenizer, layers of a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from memdet.errors import NotApplicableError


def encoded(vae: Any, images: Tensor) -> Tensor:
    """Scaled posterior means of an ``AutoencoderKL``, as pipelines hold their latents.

    Args:
        vae: The autoencoder.
        images: ``[batch, channels, height, width]`` in [0, 1].
    """
    mean: Tensor = vae.encode((2 * images - 1).to(vae.device, vae.dtype)).latent_dist.mean
    config = vae.config
    return (mean - float(getattr(config, "shift_factor", None) or 0)) * float(config.scaling_factor)


def words_of(tokenizer: Any) -> Sequence[str]:
    """Text of each token of a tokenizer, but for special ones and for those that stand for no text."""
    special = set(tokenizer.all_special_ids)
    texts = (str(tokenizer.decode([index])).strip() for index in range(len(tokenizer)) if index not in special)
    return [text for text in texts if text]


def cross_attention_of(network: nn.Module, name: str) -> Mapping[str, nn.Module]:
    """Modules called ``attn2`` that project a key and a value of the text, by their paths.

    Args:
        network: Whose modules are looked through.
        name: Of the model, for the message.

    Raises:
        NotApplicableError: There are none.
    """
    found = {
        path: module
        for path, module in network.named_modules()
        if path.endswith("attn2") and hasattr(module, "to_k") and hasattr(module, "to_v")
    }
    if not found:
        raise NotApplicableError(f"{name} has no cross-attention that can be reached")
    return found
