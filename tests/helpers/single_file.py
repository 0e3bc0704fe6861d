"""A pipeline's weights as one file under the names of the original Stable Diffusion, which `from_single_file` reads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

_TOP = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_VAE = [
    (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0", "mid.attn_1"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
    (r"group_norm", "norm"),
    (r"to_out\.0", "proj_out"),
    (r"to_([qkv])\b", r"\1"),
]


def write_single_file(pipeline: Any, path: Path) -> Path:
    """Write the unet, autoencoder and text encoder of a Stable Diffusion pipeline."""
    layers, weights = pipeline.unet.config.layers_per_block, {}
    attentive = {f"up_blocks.{i}" for i, block in enumerate(pipeline.unet.up_blocks) if hasattr(block, "attentions")}
    for key, tensor in pipeline.unet.state_dict().items():
        last = "2" if ".".join(key.split(".")[:2]) in attentive else "1"
        weights[f"model.diffusion_model.{_of_unet(key, layers).replace('UP', last)}"] = tensor
    blocks = len(pipeline.vae.config.block_out_channels)
    for key, tensor in pipeline.vae.state_dict().items():
        weights[f"first_stage_model.{_of_vae(key, blocks)}"] = tensor
    for key, tensor in pipeline.text_encoder.state_dict().items():
        weights[f"cond_stage_model.transformer.text_model.{key.removeprefix('text_model.')}"] = tensor
    assert len(weights) == sum(len(part.state_dict()) for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder))
    save_file({key: _own(tensor) for key, tensor in weights.items()}, path)
    return path


def _own(tensor: Tensor) -> Tensor:
    return tensor.clone().contiguous()


def _of_unet(key: str, layers: int) -> str:
    module, _, parameter = key.rpartition(".")
    if module in _TOP:
        return f"{_TOP[module]}.{parameter}"
    if match := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", key):
        way, block, kind, layer, rest = match[1], int(match[2]), match[3], int(match[4]), match[5]
        if kind == "downsamplers":
            return f"input_blocks.{(block + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
        place = f"input_blocks.{1 + block * (layers + 1) + layer}"
        if way == "up":
            place = f"output_blocks.{block * (layers + 1) + layer}"
        if kind == "upsamplers":
            return f"output_blocks.{block * (layers + 1) + layers}.UP.{rest}"
        return f"{place}.0.{_resnet(rest)}" if kind == "resnets" else f"{place}.1.{rest}"
    if match := re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d)\.(.+)", key):
        is_resnet = match[1] == "resnets"
        return f"middle_block.{2 * int(match[2]) if is_resnet else 1}.{_resnet(match[3]) if is_resnet else match[3]}"
    raise AssertionError(key)


def _resnet(rest: str) -> str:
    name, _, parameter = rest.rpartition(".")
    return f"{_RESNET[name]}.{parameter}"


def _of_vae(key: str, blocks: int) -> str:
    key = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{blocks - 1 - int(m[1])}.block", key)
    key = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{blocks - 1 - int(m[1])}.upsample", key)
    for old, new in _VAE:
        key = re.sub(old, new, key)
    return key
