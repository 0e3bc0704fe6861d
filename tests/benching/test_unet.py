"""UNets built from a configuration alone."""

import json

import pytest
import torch

from memdet.benching.projection.unet import build_unet, config_names, read_unet_config
from memdet.errors import UserError
from memdet.models import load_model

PARAMETERS = {"sd-1.4": 859_520_964, "sd-2.1": 865_910_724, "sdxl": 2_567_463_684}
LATENTS = {"sd-1.4": 64, "sd-2.1": 96, "sdxl": 128}  # an eighth of 512, 768 and 1,024 pixels


def test_every_published_model_is_tested_here():
    assert config_names() == sorted(PARAMETERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARAMETERS)
def test_published_models(name):
    unet = build_unet(read_unet_config(name), torch.float16)
    assert unet.parameters == PARAMETERS[name]
    assert unet.weight_bytes == 2 * PARAMETERS[name]
    assert unet.x.shape == (1, 4, LATENTS[name], LATENTS[name])
    assert {parameter.device.type for parameter in unet.network.parameters()} == {"meta"}
    assert unet.function(unet.x).shape == unet.x.shape


@pytest.mark.parametrize(("name", "tokens"), [("tiny-sd-a", 12), ("fashion-pixel", 77)])
def test_planted_models_are_those_that_are_loaded(name, tokens):
    config, model = read_unet_config(name), load_model(name)
    unet = build_unet(config, torch.float32, batch=3)
    assert unet.x.shape == (3, *model.latent_shape)
    real = {key: value.shape for key, value in model._unet.state_dict().items()}
    assert {key: value.shape for key, value in unet.network.state_dict().items()} == real
    assert config.tokens == tokens
    if model.takes_prompts:
        assert model.embed(["a"]).tensor.shape[1] == tokens


def test_the_size_of_the_latents_can_be_chosen():
    assert build_unet(read_unet_config("sd-1.4"), torch.float16, size=32).x.shape == (1, 4, 32, 32)


def test_files_and_directories(tmp_path):
    values = read_unet_config("tiny-sd-a").values
    for path in (
        tmp_path / "pipeline" / "unet" / "config.json",
        tmp_path / "small" / "config.json",
        tmp_path / "my.json",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    (tmp_path / "pipeline" / "tokenizer").mkdir()
    (tmp_path / "pipeline" / "tokenizer" / "tokenizer_config.json").write_text('{"model_max_length": 33}')
    found = {}
    for reference in ("pipeline", "small", "small/config.json", "my.json"):
        config = read_unet_config(str(tmp_path / reference))
        assert config.values == values
        found[reference] = (config.name, config.tokens)
    assert found == {
        "pipeline": ("pipeline", 33),
        "small": ("small", 77),
        "small/config.json": ("small", 77),
        "my.json": ("my", 77),
    }


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"block_out_channels": [48]}, ["cannot build this UNet2DConditionModel"]),
        ({"block_out_channels": "many"}, ["cannot build"]),
        ({"block_out_channels": [50, 96]}, ["cannot build", "num_groups"]),
        ({"down_block_types": ["MagicBlock2D", "DownBlock2D"]}, ["cannot build", "MagicBlock2D"]),
        ({"sample_size": None}, ["sample_size is None", "`latent_size`"]),
        ({"sample_size": [8, 8]}, ["sample_size is [8, 8]"]),
        ({"out_channels": 8}, ["(1, 4, 8, 8) to (1, 8, 8, 8)"]),
        ({"addition_embed_type": "text_image"}, ["addition_embed_type is 'text_image'"]),
        ({"class_embed_type": "timestep"}, ["class_embed_type is 'timestep'"]),
        ({"addition_embed_type": "text_time", "addition_time_embed_dim": 8}, ["cannot"]),
        ({"cross_attention_dim": None}, ["cannot"]),
        ({"time_embedding_type": "sundial"}, ["cannot build", "sundial"]),
    ],
)
def test_a_damaged_configuration_is_refused(changed, words, tmp_path):
    values = read_unet_config("tiny-sd-a").values | changed
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError) as refusal:
        build_unet(read_unet_config(str(tmp_path)), torch.float32)
    for word in ["config.json", *words]:
        assert word in str(refusal.value)
