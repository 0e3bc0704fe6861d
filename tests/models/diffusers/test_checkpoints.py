"""Networks that a training wrote, and single files of weights, on the base that they belong to."""

from __future__ import annotations

import gc
import json
import re
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from memdet.errors import UserError
from memdet.models import load_model
from memdet.models.load_options import LoadOptions
from tests.helpers.single_file import write_single_file

UNET = "unet/diffusion_pytorch_model.safetensors"


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(reference, **options):
    with pytest.raises(UserError) as caught:
        load_model(reference, options=LoadOptions(**options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def tuned(copy_of_pipeline):
    """The random pipeline with another unet, whole."""
    directory = copy_of_pipeline()
    weights = load_file(directory / UNET)
    save_file({key: tensor * 1.5 for key, tensor in weights.items()}, directory / UNET, metadata={"format": "pt"})
    return directory


@pytest.fixture
def out(tuned, tmp_path):
    """What a training script of diffusers leaves: checkpoints of the unet, its average and the optimiser."""
    for step in (500, 1000):
        place = tmp_path / "out" / f"checkpoint-{step}"
        shutil.copytree(tuned / "unet", place / "unet")
        (place / "optimizer.bin").write_bytes(b"")
    return tmp_path / "out"


@pytest.mark.parametrize("folder", ["unet", "unet_ema", "."])
def test_a_checkpoint_is_its_unet_on_the_base(random_pipeline, tuned, tmp_path, folder):
    part = tmp_path / "checkpoint-500"
    shutil.copytree(tuned / "unet", part / folder)
    model = load_model(part, options=LoadOptions(base=str(random_pipeline)))
    whole = load_model(tuned)
    x, embedding = torch.randn(2, 4, 8, 8), whole.embed(["alderon striped", ""])
    with torch.no_grad():
        torch.testing.assert_close(model.predict(x, 500, embedding), whole.predict(x, 500, embedding))
    assert model.fingerprint() == whole.fingerprint()
    assert model.files() == whole.files()
    assert "everything else is the base's" in model.remarks()[0]
    assert model.decode(x).shape == (2, 1, 32, 32)


def test_the_directory_that_was_put_together_goes_with_the_model(random_pipeline, out):
    model = load_model(out / "checkpoint-500", options=LoadOptions(base=str(random_pipeline)))
    place = model._directory
    assert place.is_dir()
    del model
    gc.collect()
    assert not place.exists()
    assert (out / "checkpoint-500" / UNET).is_file()
    assert (random_pipeline / "vae").is_dir()


def test_what_a_training_left_is_told(random_pipeline, out):
    message = refusal(out)
    assert "has no model_index.json" in message
    assert "it holds the training checkpoints checkpoint-500, checkpoint-1000: name one" in message
    assert "`subfolder` checkpoint-1000 say" in message
    assert "holds no network of the base; it holds the training checkpoints" in refusal(out, base=str(random_pipeline))
    assert "it holds unet of a fine-tune: give `base`" in refusal(out / "checkpoint-500")
    assert "it is one network of a model: give `base`" in refusal(out / "checkpoint-500" / "unet")
    found = load_model(out, options=LoadOptions(base=str(random_pipeline), subfolder="checkpoint-500"))
    assert found.name == "out+checkpoint-500"
    assert "has no folder checkpoint-7; it has checkpoint-1000, checkpoint-500" in refusal(
        out, subfolder="checkpoint-7"
    )


def test_of_both_averages_the_user_says_which(random_pipeline, out):
    place = out / "checkpoint-500"
    shutil.copytree(place / "unet", place / "unet_ema")
    message = refusal(place, base=str(random_pipeline))
    assert "holds both unet and unet_ema, the averaged weights: say which is meant, `subfolder` unet" in message
    assert load_model(place, options=LoadOptions(base=str(random_pipeline), subfolder="unet_ema"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["pytorch_lora_weights.safetensors"], "a LoRA: name the model that it was trained from, and `lora`"),
        (["model.safetensors", "optimizer.bin", "random_states_0.pkl"], "it holds the state of a training alone"),
        (["v1-5.safetensors"], "it holds single files of weights (v1-5.safetensors): name one of them, with `base`"),
    ],
)
def test_folders_that_are_no_model(tmp_path, files, words):
    for name in files:
        (tmp_path / name).write_text("")
    assert words in refusal(tmp_path)


def test_a_network_that_does_not_fit_the_base(random_pipeline, out):
    config = out / "checkpoint-500" / "unet" / "config.json"
    edit_json(config, cross_attention_dim=7)
    assert "was not trained from this base: its cross_attention_dim is 7" in refusal(
        out / "checkpoint-500", base=str(random_pipeline)
    )
    edit_json(config, _class_name="UNet2DModel")
    assert "is a UNet2DModel, and the base has a UNet2DConditionModel there" in refusal(
        out / "checkpoint-500", base=str(random_pipeline)
    )
    assert "of which the base has 0" in refusal(out / "checkpoint-500" / "unet", base=str(random_pipeline))
    (out / "checkpoint-1000" / UNET).unlink()
    assert "holds a configuration and no weights" in refusal(out / "checkpoint-1000", base=str(random_pipeline))


def test_messages_name_the_place_where_the_user_has_the_file(random_pipeline, out):
    path = out / "checkpoint-500" / UNET
    path.write_bytes(path.read_bytes()[:1000])
    assert f"{out / 'checkpoint-500' / 'unet'} cannot be loaded" in refusal(
        out / "checkpoint-500", base=str(random_pipeline)
    )


def test_a_whole_model_takes_no_base(random_pipeline, tuned, tmp_path):
    assert "is a whole model: leave `base` out" in refusal(tuned, base=str(random_pipeline))
    assert "is no name, directory or hub id" in refusal(tmp_path / "absent" / "model", base=str(random_pipeline))
    assert "is for the hub" in refusal(tuned, revision="main")


def test_an_adapter_beside_a_part_or_its_base_is_not_passed_over(copy_of_pipeline, out):
    base = copy_of_pipeline()
    lora = {"unet.a.lora_A.weight": torch.ones(1, 1)}
    save_file(lora, base / "style.safetensors")
    assert f"{base} holds style.safetensors, a LoRA" in refusal(out / "checkpoint-500", base=str(base))
    assert load_model(out / "checkpoint-500", options=LoadOptions(base=str(base), lora="none"))
    (base / "style.safetensors").rename(out / "checkpoint-500" / "style.safetensors")
    assert "checkpoint-500 holds style.safetensors, a LoRA" in refusal(out / "checkpoint-500", base=str(base))


def test_a_fine_tune_of_a_planted_model(tmp_path):
    from memdet.io_utils import weights_root

    shutil.copytree(weights_root() / "fashion-pixel" / "unet", tmp_path / "unet")
    model = load_model(tmp_path, options=LoadOptions(base="fashion-pixel"))
    assert model.fingerprint() == load_model("fashion-pixel").fingerprint()


# Single files


@pytest.mark.slow
def test_a_single_file_is_what_it_was_made_of(random_pipeline, tuned, tmp_path):
    pipeline = StableDiffusionPipeline.from_pretrained(tuned, safety_checker=None)
    file = write_single_file(pipeline, tmp_path / "model.safetensors")
    model = load_model(file, options=LoadOptions(base=str(random_pipeline)))
    whole = load_model(tuned)
    x, embedding = torch.randn(2, 4, 8, 8), whole.embed(["alderon striped", ""])
    with torch.no_grad():
        found = model.embed(["alderon striped", ""]).tensors["encoder_hidden_states"]
        torch.testing.assert_close(found, embedding.tensors["encoder_hidden_states"], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(model.predict(x, 500, embedding), whole.predict(x, 500, embedding))
        torch.testing.assert_close(model.decode(x), whole.decode(x))
    assert "single file" in model.files()
    assert (
        model.remarks()[0] == "read from model.safetensors, with the configuration, scheduler and tokenizer of the base"
    )
    weights = load_file(file)
    lost = "model.diffusion_model.middle_block.0.in_layers.2.weight"
    save_file({key: tensor for key, tensor in weights.items() if key != lost}, file)
    message = refusal(file, base=str(random_pipeline))
    assert "lacks 1 weights of the base's StableDiffusionPipeline, the first unet.mid_block.resnets.0.conv1" in message


def test_a_single_file_needs_a_base(tmp_path):
    (tmp_path / "model.safetensors").write_text("")
    message = refusal(tmp_path / "model.safetensors")
    assert "is a single file of weights: give `base`" in message
    assert re.search(r"StableDiffusionPipeline\.from_single_file\('.*model\.safetensors'\)\.save_pretrained", message)


def test_a_single_file_that_is_none_of_the_base(random_pipeline, tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    assert "model.safetensors" in refusal(tmp_path / "model.safetensors", base=str(random_pipeline))
    (tmp_path / "model.ckpt").write_bytes(b"")
    assert "is no safetensors file; convert it" in refusal(tmp_path / "model.ckpt", base=str(random_pipeline))
