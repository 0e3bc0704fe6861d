"""Models of a stand-in hub: what is asked for, in which order, and every way in which a hub does not give a model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from memdet.errors import UserError
from memdet.models import load_model
from memdet.models.load_options import LoadOptions
from memdet.samplesets.fetch import Fetcher
from tests.helpers.stand_in_hub import Repository, commit_of

UNET = "unet/diffusion_pytorch_model.safetensors"
OFFLINE = Fetcher(offline=True)


def leave(monkeypatch):
    """No hub answers from now on."""
    nobody = "http://127.0.0.1:9"
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", nobody)
    template = nobody + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(reference="org/name", **kwargs):
    with pytest.raises(UserError) as caught:
        load_model(reference, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_wanted_is_never_asked_for(hub, copy_of_pipeline, random_model):
    directory = copy_of_pipeline()
    unwanted = [
        "README.md",
        "v1-5-pruned.ckpt",
        "v1-5-pruned.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "unet/modeling.py",
        "unet/model.onnx",
        "safety_checker/config.json",
        "safety_checker/model.safetensors",
        "feature_extractor/preprocessor_config.json",
        "text_encoder/flax_model.msgpack",
        "another/model.safetensors",
    ]
    for name in unwanted:
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text("{}")
    hub.repositories["org/name"] = Repository({"main": directory})
    model = load_model("org/name")
    assert hub.fetched[0] == "model_index.json"
    whole = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert set(hub.fetched) == whole - set(unwanted)
    assert len(hub.fetched) == len(set(hub.fetched))
    weights = [name.endswith(".safetensors") for name in hub.fetched]
    assert weights == sorted(weights)  # after everything small
    assert model.fingerprint() == random_model.fingerprint()
    assert model.name == "name"


def test_offline_takes_the_cache_alone(hub, random_pipeline, random_model, monkeypatch):
    hub.repositories["org/name"] = Repository({"main": random_pipeline})
    message = refusal(fetcher=OFFLINE)
    assert "org/name is no local directory and not in the hub's cache, and `offline` fetches nothing" in message
    load_model("org/name")
    hub.fetched.clear()
    leave(monkeypatch)
    assert load_model("org/name", fetcher=OFFLINE).fingerprint() == random_model.fingerprint()
    assert load_model("org/name", fetcher=OFFLINE).remarks() == ()
    model = load_model("org/name")
    assert model.fingerprint() == random_model.fingerprint()
    assert model.remarks()[0].startswith("org/name: the hub does not answer (")
    assert "does not answer" in refusal("org/other")
    assert hub.fetched == []


def test_a_cache_that_is_not_whole(hub, random_pipeline, monkeypatch):
    hub.repositories["org/name"] = Repository({"main": random_pipeline}, breaks=UNET)
    message = refusal()
    assert f"did not give {UNET}" in message
    assert "run again, which goes on where it stopped" in message
    assert "cache lacks weights of unet, and `offline` fetches nothing" in refusal(fetcher=OFFLINE)
    hub.repositories["org/name"].breaks = None
    hub.fetched.clear()
    load_model("org/name")
    assert set(hub.fetched) <= {UNET, "vae/diffusion_pytorch_model.safetensors"}


@pytest.mark.parametrize("by", ["option", "name", "commit"])
def test_a_revision(hub, random_pipeline, random_model, copy_of_pipeline, by):
    directory = copy_of_pipeline()
    weights = load_file(directory / UNET)
    save_file({key: tensor + 1 for key, tensor in weights.items()}, directory / UNET, metadata={"format": "pt"})
    hub.repositories["org/name"] = Repository({"main": random_pipeline, "v2": directory})
    revision = commit_of(directory) if by == "commit" else "v2"
    reference = "org/name" if by == "option" else f"org/name@{revision}"
    options = LoadOptions(revision=revision) if by == "option" else None
    found = load_model(reference, options=options).fingerprint()
    assert found == load_model(directory).fingerprint() != random_model.fingerprint()
    assert load_model(reference, options=options, fetcher=OFFLINE).fingerprint() == found
    assert "has no revision v3 of it" in refusal("org/name@v3")
    assert "write one" in refusal("org/name@v2", options=LoadOptions(revision="v3"))


def test_a_subfolder(hub, random_pipeline, random_model, tmp_path):
    shutil.copytree(random_pipeline, tmp_path / "repo" / "models" / "small")
    (tmp_path / "repo" / "big.safetensors").write_text("")
    hub.repositories["org/name"] = Repository({"main": tmp_path / "repo"})
    options = LoadOptions(subfolder="models/small")
    assert load_model("org/name", options=options).fingerprint() == random_model.fingerprint()
    assert load_model("org/name", options=options, fetcher=OFFLINE).fingerprint() == random_model.fingerprint()
    assert all(name.startswith("models/small/") for name in hub.fetched)
    assert "org/name has no model_index.json" in refusal()


def test_a_repository_of_one_variant(hub, random_pipeline, tmp_path):
    pipeline = StableDiffusionPipeline.from_pretrained(random_pipeline, dtype=torch.float16, safety_checker=None)
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    hub.repositories["org/name"] = Repository({"main": tmp_path / "half"})
    model = load_model("org/name")
    assert model.fingerprint() == load_model(tmp_path / "half").fingerprint()
    assert "unet: read from the variant fp16, for there are no plain weights" in model.remarks()


def test_shards(hub, random_pipeline, random_model, copy_of_pipeline):
    directory = copy_of_pipeline()
    (directory / UNET).unlink()
    unet = UNet2DConditionModel.from_pretrained(random_pipeline / "unet")
    unet.save_pretrained(directory / "unet", max_shard_size="1MB")
    unet.half().save_pretrained(directory / "unet", max_shard_size="1MB", variant="fp16")
    hub.repositories["org/name"] = Repository({"main": directory})
    model, embedding = load_model("org/name"), random_model.embed(["a"])
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(model.predict(x, 3, embedding), random_model.predict(x, 3, embedding))
    assert not any("fp16" in name for name in hub.fetched)


# What the hub does not give, and what memdet does not take: nothing big is fetched


def no_weights(hub):
    return not any(name.endswith((".safetensors", ".bin")) for name in hub.fetched)


def test_pickle_weights_alone(hub, copy_of_pipeline):
    directory = copy_of_pipeline()
    path = directory / "text_encoder" / "model.safetensors"
    path.rename(path.with_name("pytorch_model.bin"))
    hub.repositories["org/name"] = Repository({"main": directory})
    message = refusal()
    assert "org/name/text_encoder holds pickle weights only" in message
    assert "DiffusionPipeline.from_pretrained('org/name').save_pretrained(NEW_DIR)" in message
    assert no_weights(hub)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"unet": [None, None], "transformer": ["diffusers", "SD3Transformer2DModel"]}, "names no unet"),
        ({"unet": ["diffusers", "UNet2DModel"]}, "the unet is a UNet2DModel; memdet reads UNet2DConditionModel"),
        ({"unet": ["my_unet", "MyUNet"]}, "org/name: unet comes from 'my_unet', not diffusers or transformers"),
        ({"_class_name": ["my_pipeline", "Mine"]}, "code of its own, which memdet does not run"),
    ],
)
def test_a_model_that_its_index_refuses(hub, copy_of_pipeline, changes, words):
    directory = copy_of_pipeline()
    edit_json(directory / "model_index.json", **changes)
    hub.repositories["org/name"] = Repository({"main": directory})
    assert words in refusal()
    assert no_weights(hub)


def test_a_model_that_its_configuration_refuses(hub, copy_of_pipeline):
    directory = copy_of_pipeline()
    edit_json(directory / "unet" / "config.json", in_channels=9)
    hub.repositories["org/name"] = Repository({"main": directory})
    assert "extra input channels" in refusal()
    assert no_weights(hub)


@pytest.mark.parametrize("name", ["pytorch_lora_weights.safetensors", "learned_embeds.bin"])
def test_an_adapter_in_a_repository(hub, copy_of_pipeline, random_model, name):
    directory = copy_of_pipeline()
    (directory / name).write_bytes(b"")
    hub.repositories["org/name"] = Repository({"main": directory})
    option = "lora" if "lora" in name else "textual_inversion"
    assert f"org/name holds {name}" in refusal()
    assert no_weights(hub)
    none = LoadOptions(**{option: "none"})
    assert load_model("org/name", options=none).fingerprint() == random_model.fingerprint()
    assert name in refusal(fetcher=OFFLINE)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["pytorch_lora_weights.safetensors"], "a LoRA: name the model that it was trained from, and `lora` org/name/"),
        (["unet/config.json", "unet/diffusion_pytorch_model.safetensors"], "it holds unet of a fine-tune: give `base`"),
        (["checkpoint-500/unet/config.json", "checkpoint-1000/unet/config.json"], "`subfolder` checkpoint-1000 say"),
        (["v1-5.safetensors"], "it holds single files of weights (v1-5.safetensors)"),
        (["README.md"], "is no model of diffusers"),
    ],
)
def test_a_repository_without_index(hub, tmp_path, files, words):
    for name in files:
        (tmp_path / "repo" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "repo" / name).write_text("{}")
    hub.repositories["org/name"] = Repository({"main": tmp_path / "repo"})
    message = refusal()
    assert "org/name has no model_index.json" in message
    assert words in message
    assert hub.fetched == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "the hub has no such repository, or a private one: check the name, or log in"),
        (403, "GatedRepo", "the hub gives it to those who accept its terms"),
        (401, "GatedRepo", "the hub gives it to those who accept its terms"),
        (401, "RepoNotFound", "a private one"),
        (401, "", "log in (`hf auth login`, or HF_TOKEN)"),
        (403, "", "log in (`hf auth login`, or HF_TOKEN)"),
    ],
)
def test_a_repository_that_the_hub_does_not_give(hub, random_pipeline, status, code, words):
    if status != 404:
        hub.repositories["org/name"] = Repository({"main": random_pipeline}, status, code)
    assert words in refusal()
    assert hub.fetched == []


def test_a_fine_tune_on_the_hub_with_its_base_there(hub, random_pipeline, copy_of_pipeline, tmp_path):
    directory = copy_of_pipeline()
    weights = load_file(directory / UNET)
    save_file({key: tensor * 2 for key, tensor in weights.items()}, directory / UNET, metadata={"format": "pt"})
    shutil.copytree(directory / "unet", tmp_path / "tuned" / "unet")
    hub.repositories["org/tuned"] = Repository({"main": tmp_path / "tuned"})
    hub.repositories["org/base"] = Repository({"main": random_pipeline})
    model = load_model("org/tuned", options=LoadOptions(base="org/base"))
    assert model.fingerprint() == load_model(directory).fingerprint()
    hub.fetched.clear()
    local = load_model(tmp_path / "tuned", options=LoadOptions(base="org/base"), fetcher=OFFLINE)
    assert local.fingerprint() == model.fingerprint()


@pytest.mark.slow
def test_the_command_line_takes_the_hub_that_the_environment_names(hub, random_pipeline, tmp_path):
    hub.repositories["org/name"] = Repository({"v2": random_pipeline})
    (tmp_path / "prompts.txt").write_text("alderon striped\ncorvane modern\n")
    words = ["scan", "--model", "org/name", "--prompts", str(tmp_path / "prompts.txt"), "--out", str(tmp_path / "out")]
    words += ["--quiet", "--lora", "none", "--revision"]
    environment = os.environ | {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "memdet", *words, "v3"], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "the hub has no revision v3 of it" in done.stderr
