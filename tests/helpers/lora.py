"""LoRA files with random weights, and whether peft is there to load them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

RANK = 2

needs_peft = pytest.mark.skipif(
    not (find_spec("peft") and find_spec("accelerate")), reason="the extra lora is not installed"
)


def write_lora(pipeline: Path, path: Path) -> Path:
    """Write a LoRA on all queries and values of the unet and the queries of the text encoder, in diffusers' format."""
    torch.manual_seed(5)
    loaded = StableDiffusionPipeline.from_pretrained(pipeline, safety_checker=None)
    weights = {}
    for prefix, network in (("unet", loaded.unet), ("text_encoder", loaded.text_encoder)):
        for name, module in network.named_modules():
            if name.rpartition(".")[2] in {"to_q", "to_v", "q_proj"} and isinstance(module, torch.nn.Linear):
                weights[f"{prefix}.{name}.lora_A.weight"] = torch.randn(RANK, module.in_features) / 4
                weights[f"{prefix}.{name}.lora_B.weight"] = torch.randn(module.out_features, RANK) / 4
    assert {name.split(".")[0] for name in weights} == {"unet", "text_encoder"}
    save_file(weights, path)
    return path
