"""How large models and pictures are, from files whose content is known."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from memdet.io_utils import png_bytes
from memdet.models import load_model
from memdet.results.scale import ModelScale, scale_of, scale_sentence


@pytest.fixture
def model(tmp_path):
    """A pipeline of 12 + 3 parameters for pictures of 8 latents, enlarged four times."""
    for folder, config in (("unet", {"sample_size": 8}), ("vae", {"block_out_channels": [1, 1, 1]})):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").write_text(json.dumps(config))
    weights = {"weight": np.zeros((4, 3), np.float32), "bias": np.zeros(3, np.float32)}
    save_file(weights, tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    save_file(weights, tmp_path / "unet" / "diffusion_pytorch_model.fp16.safetensors")  # the same once more
    return tmp_path


def test_sizes_by_hand(model):
    assert scale_of(str(model)) == ModelScale(side=32, parameters=15)
    said = scale_sentence([str(model)])
    assert "The pictures are 32 x 32 pixels." in said
    assert "need not hold for large ones" in said


def test_a_shipped_model_has_as_many_parameters_as_its_network():
    network = load_model("fashion-pixel")._unet
    assert scale_of("fashion-pixel").parameters == sum(parameter.numel() for parameter in network.parameters())


def test_pictures_of_the_run_go_before_what_files_say(model):
    images = {(str(model), "a cat", "shared", 10, 2.0, 0): png_bytes(np.zeros((5, 5), np.uint8))}
    images[("another", "a cat", "shared", 10, 2.0, 0)] = png_bytes(np.zeros((7, 7), np.uint8))
    assert "The pictures are 5 x 5 pixels." in scale_sentence([str(model)], images)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x05" + b"\0" * 7 + b"[1,2]"])
def test_what_cannot_be_read_is_not_said(model, content):
    (model / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(content)
    assert scale_of(str(model)) == ModelScale(side=32, parameters=None)
    assert scale_sentence(["nowhere", str(model / "unet")]) == ""


def test_large_models_are_not_called_small(model, monkeypatch):
    monkeypatch.setattr("memdet.results.scale.SMALL", 10)
    assert "need not hold" not in scale_sentence([str(model)])
