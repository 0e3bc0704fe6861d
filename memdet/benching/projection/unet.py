"""UNets without weights: built from a configuration on torch's meta device, which knows shapes and holds no numbers."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memdet.errors import UserError
from memdet.given_files import read_json
from memdet.io_utils import weights_root
from memdet.models.diffusers.class_conditional import allow_forward_ad
from memdet.models.diffusers.directory import INDEX_FILE

CLASSES = ("UNet2DConditionModel", "UNet2DModel")
# Inputs beside noise, timestep, text and a class that are known how to give; others are refused.
_KNOWN_INPUTS = {
    "addition_embed_type": (None, "text_time"),
    "class_embed_type": (None,),
    "encoder_hid_dim_type": (None,),
}
TOKENS = 77  # of CLIP's text encoders, which Stable Diffusion uses; a UNet's configuration does not say it


@dataclass(frozen=True)
class UNetConfig:
    """What a UNet is built from.

    Attributes:
        name: In tables.
        values: Content of diffusers' ``config.json``.
        source: Where it was read, for messages.
        tokens: Of the text.
    """

    name: str
    values: dict[str, Any]
    source: str
    tokens: int = TOKENS


@dataclass(frozen=True)
class MetaUNet:
    """A UNet on the meta device, and what it is called with.

    Attributes:
        network: A model of diffusers, in evaluation mode, without gradients for its weights.
        function: Maps ``[batch, *latent_shape]`` to the same shape, at a timestep and conditions of the same batch.
        x: Input of the function.
    """

    network: Any
    function: Callable[[Tensor], Tensor]
    x: Tensor

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    @property
    def weight_bytes(self) -> int:
        """Memory that the parameters take."""
        return sum(parameter.numel() * parameter.element_size() for parameter in self.network.parameters())


def config_names() -> list[str]:
    """Published models of which memdet knows the configuration alone."""
    return sorted(path.name.removesuffix(".json") for path in _configs().iterdir() if path.name.endswith(".json"))


def read_unet_config(reference: str) -> UNetConfig:
    """Find the configuration of a UNet. No weights are needed.

    Args:
        reference: A name of :func:`config_names`, a planted model, a ``config.json``, a directory that holds one, or a
            pipeline's directory.

    Raises:
        UserError: Nothing of that kind, or a damaged file.

    Example:
        >>> read_unet_config("sd-1.4").values["block_out_channels"]
        [320, 640, 1280, 1280]
    """
    if reference in config_names():
        path = Path(str(_configs() / f"{reference}.json"))
        return UNetConfig(reference, _checked(read_json(path), path), str(path))
    planted = weights_root() / reference
    path = planted if (planted / INDEX_FILE).is_file() else Path(reference).expanduser()
    if not path.exists():
        known = [*config_names(), *(entry.name for entry in weights_root().iterdir() if (entry / "unet").is_dir())]
        near = difflib.get_close_matches(reference, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"names: {', '.join(known)}"
        raise UserError(f"model {reference!r} is no name, UNet config.json or model directory: {hint}")
    if path.is_file():
        name = path.resolve().parent.name if path.stem == "config" else path.stem
        return UNetConfig(name, _checked(read_json(path), path), str(path))
    tokens = TOKENS
    if (path / "tokenizer" / "tokenizer_config.json").is_file():
        length = read_json(path / "tokenizer" / "tokenizer_config.json").get("model_max_length")
        tokens = length if isinstance(length, int) and 0 < length < 10**6 else TOKENS
    file = path / "unet" / "config.json" if (path / "unet").is_dir() else path / "config.json"
    return UNetConfig(path.resolve().name, _checked(read_json(file), file), str(file), tokens)


def build_unet(config: UNetConfig, dtype: torch.dtype, *, batch: int = 1, size: int | None = None) -> MetaUNet:
    """Build a UNet on the meta device. Takes no memory, whatever its size.

    Args:
        config: Of the UNet.
        dtype: Of weights and inputs.
        batch: Rows of the input.
        size: Height and width of the latents; None takes the configuration's.

    Raises:
        UserError: diffusers cannot build the network, or it cannot be called with a noisy latent, a timestep, text (or
            a class), and SDXL's sizes and pooled text.
    """
    import diffusers

    cls = getattr(diffusers, config.values["_class_name"])
    try:
        with torch.device("meta"):
            network = cls.from_config(config.values)
        torch.nn.Module.to(network, dtype)  # diffusers' own method warns of modules to be kept in float32
    except Exception as error:  # diffusers raises many kinds at a configuration that does not fit together
        raise UserError(f"{config.source}: diffusers cannot build this {cls.__name__}: {_first_line(error)}") from None
    network.eval().requires_grad_(False)
    if cls.__name__ == "UNet2DModel":
        allow_forward_ad(network)
    size = size or config.values.get("sample_size")
    if not isinstance(size, int) or size < 1:
        raise UserError(
            f"{config.source}: sample_size is {size!r}, not a positive number; give `latent_size`",
            parameters=("latent_size",),
        )
    x = torch.empty(batch, network.config.in_channels, size, size, dtype=dtype, device="meta")
    function = _function(network, batch, config, dtype)
    try:
        with torch.no_grad():
            shape = function(x).shape
    except Exception as error:  # torch and diffusers say in many ways that an input is missing or does not fit
        raise UserError(f"{config.source}: the UNet cannot be called at size {size}: {_first_line(error)}") from None
    if shape != x.shape:
        raise UserError(f"{config.source}: the UNet maps {tuple(x.shape)} to {tuple(shape)}; that is no score")
    return MetaUNet(network, function, x)


def _configs() -> Any:
    return files("memdet.benching.projection") / "configs"


def _checked(values: dict[str, Any], path: Path) -> dict[str, Any]:
    name = values.get("_class_name")
    if name not in CLASSES:
        raise UserError(f"{path}: _class_name is {name!r}; memdet plans {' and '.join(CLASSES)} of diffusers")
    for key, known in _KNOWN_INPUTS.items():
        if values.get(key) not in known:
            raise UserError(f"{path}: {key} is {values[key]!r}, which asks for inputs that memdet does not know")
    return values


def _function(network: Any, batch: int, config: UNetConfig, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    """The network at a timestep and conditions, as a function of the noisy latents."""

    def empty(*shape: int, dtype: torch.dtype = dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, device="meta")

    values = network.config
    inputs: dict[str, Any] = {}
    if values.get("num_class_embeds") is not None:
        inputs["class_labels"] = empty(batch, dtype=torch.int64)
    if "cross_attention_dim" in values:
        width = values.cross_attention_dim
        inputs["encoder_hidden_states"] = empty(batch, config.tokens, width if isinstance(width, int) else width[0])
    if values.get("addition_embed_type") == "text_time":
        # SDXL: three pairs of sizes, each number embedded, beside the pooled text
        pooled = values.projection_class_embeddings_input_dim - 6 * values.addition_time_embed_dim
        inputs["added_cond_kwargs"] = {"text_embeds": empty(batch, pooled), "time_ids": empty(batch, 6)}
    t = empty(dtype=torch.int64)

    def function(x: Tensor) -> Tensor:
        output: Tensor = network(x, t, return_dict=False, **inputs)[0]
        return output

    return function


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
