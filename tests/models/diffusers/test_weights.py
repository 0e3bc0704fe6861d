"""Which weight files of a directory are read: variants, shards, and parts that nobody needs."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from memdet.errors import NotApplicableError, UserError
from memdet.models import load_model
from memdet.models.condition import Condition
from memdet.models.diffusers.weights import find_weights

UNET = "diffusion_pytorch_model"


def x(*shape):
    return torch.randn(*(shape or (2, 4, 8, 8)), generator=torch.Generator().manual_seed(3))


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def shift(path, new, by):
    """Other weights under another name."""
    weights = load_file(path)
    save_file({key: tensor + by for key, tensor in weights.items()}, path.with_name(new), metadata={"format": "pt"})


def assert_same_network(model, unet, embedding):
    with torch.no_grad():
        expected = unet.eval()(x(), 500, embedding.tensors["encoder_hidden_states"]).sample
        torch.testing.assert_close(model.predict(x(), 500, embedding), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def half(random_pipeline, tmp_path):
    """A directory that holds the variant fp16 alone."""
    pipeline = StableDiffusionPipeline.from_pretrained(random_pipeline, dtype=torch.float16, safety_checker=None)
    pipeline.save_pretrained(tmp_path / "half", variant="fp16")
    assert {path.name for path in (tmp_path / "half").rglob("*.safetensors")} == {
        f"{UNET}.fp16.safetensors",
        "model.fp16.safetensors",
    }
    return tmp_path / "half"


def test_a_directory_of_one_variant_is_what_diffusers_reads_from_it(half):
    pipeline = StableDiffusionPipeline.from_pretrained(half, variant="fp16", dtype=torch.float32)
    model = load_model(half)
    prompts = ["alderon striped"] * 2
    conditional, null = pipeline.encode_prompt(prompts, "cpu", 1, True)
    torch.testing.assert_close(model.embed(prompts).tensors["encoder_hidden_states"], conditional, rtol=1e-5, atol=1e-5)
    assert_same_network(model, pipeline.unet, Condition.of(conditional, "encoder_hidden_states"))
    assert_same_network(model, pipeline.unet, Condition.of(null, "encoder_hidden_states"))
    assert model.decode(x()).shape == (2, 1, 32, 32)
    assert [remark.split(": ")[0] for remark in model.remarks()] == ["unet", "text_encoder", "vae"]
    assert all("read from the variant fp16, for there are no plain weights" in remark for remark in model.remarks())


def test_the_plain_weights_come_first(copy_of_pipeline, random_model):
    directory = copy_of_pipeline()
    plain = directory / "unet" / f"{UNET}.safetensors"
    shift(plain, f"{UNET}.fp16.safetensors", 1.0)
    shift(plain, f"{UNET}.non_ema.safetensors", 2.0)
    model = load_model(directory)
    embedding = random_model.embed(["a"])
    assert_same_network(model, UNet2DConditionModel.from_pretrained(directory / "unet"), embedding.expand(2))
    assert model.remarks() == ("unet: read from the plain weights, not from the variant fp16, non_ema",)
    assert model.fingerprint() == random_model.fingerprint()
    assert set(model.files()) == set(random_model.files())


def test_of_several_variants_one_is_taken_and_told(copy_of_pipeline):
    directory = copy_of_pipeline()
    plain = directory / "unet" / f"{UNET}.safetensors"
    shift(plain, f"{UNET}.fp16.safetensors", 0.0)
    shift(plain, f"{UNET}.non_ema.safetensors", 2.0)
    plain.unlink()
    model = load_model(directory)
    assert model.remarks() == (
        "unet: read from the variant fp16, for there are no plain weights; non_ema is there too",
    )
    assert f"unet/{UNET}.fp16.safetensors" in model.files()
    assert f"unet/{UNET}.non_ema.safetensors" not in model.files()


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_shards_are_read_by_their_index(random_pipeline, random_model, copy_of_pipeline, variant):
    directory = copy_of_pipeline()
    shutil.rmtree(directory / "unet")
    unet = UNet2DConditionModel.from_pretrained(random_pipeline / "unet")
    unet.save_pretrained(directory / "unet", max_shard_size="1MB", variant=variant)
    shards = sorted((directory / "unet").glob("*-of-*.safetensors"))
    assert len(shards) > 1
    model = load_model(directory)
    assert_same_network(model, unet, random_model.embed(["a b"]).expand(2))
    assert {f"unet/{path.name}" for path in (directory / "unet").iterdir()} <= set(model.files())
    shards[1].unlink()
    with pytest.raises(
        UserError, match=f"unet lacks 1 of {len(shards) + 1} files of weights, the first {shards[1].name}"
    ):
        load_model(directory)


def test_weights_under_another_name(copy_of_pipeline):
    directory = copy_of_pipeline()
    path = directory / "unet" / f"{UNET}.safetensors"
    path.rename(path.with_name("weights.safetensors"))
    with pytest.raises(UserError, match="under a name that diffusers reads, only weights.safetensors"):
        load_model(directory)


@pytest.mark.parametrize(
    ("names", "files", "variant"),
    [
        (["model.safetensors", "model.fp16.safetensors"], ["model.safetensors"], None),
        (["model.bf16.safetensors", "model.fp16.safetensors"], ["model.bf16.safetensors"], "bf16"),
        (
            ["model.safetensors.index.json", "model-00001-of-00002.safetensors"],
            ["model.safetensors.index.json", "s"],
            None,
        ),
        ([f"{UNET}.safetensors.index.fp16.json"], [f"{UNET}.safetensors.index.fp16.json", "s"], "fp16"),
        (["model.fp16-00001-of-00002.safetensors"], None, None),
        (["pytorch_model.bin", "flax_model.msgpack", "openvino_model.safetensors"], None, None),
    ],
)
def test_names_of_weight_files(names, files, variant):
    found = find_weights(names, lambda name: {"weight_map": {"a": "s", "b": "s"}})
    assert found is None if files is None else (list(found.files), found.variant) == (files, variant)


# Sizes, and an autoencoder that nobody needs


@pytest.mark.parametrize(
    ("stated", "shape"), [([8, 16], (4, 8, 16)), ([16, 8], (4, 16, 8)), (4, (4, 4, 4)), (None, (4, 8, 8))]
)
def test_size_of_the_latents(copy_of_pipeline, stated, shape):
    directory = copy_of_pipeline()
    edit_json(directory / "unet" / "config.json", sample_size=stated)
    assert json.loads((directory / "vae" / "config.json").read_text())["sample_size"] == 32
    model = load_model(directory)
    assert model.latent_shape == shape
    pipeline = StableDiffusionPipeline.from_pretrained(directory)
    if stated is not None:  # where it is None diffusers asks for a size
        size = pipeline("a", num_inference_steps=1, output_type="latent").images.shape[1:]
        assert tuple(size) == shape
    assert model.decode(x(1, *shape)).shape[2:] == (4 * shape[1], 4 * shape[2])


@pytest.mark.parametrize("stated", ["big", 0, [8], [8, None]])
def test_a_size_that_is_none(copy_of_pipeline, stated):
    directory = copy_of_pipeline()
    edit_json(directory / "unet" / "config.json", sample_size=stated)
    with pytest.raises(UserError, match="sample_size of the denoiser is .*, not a number or a pair"):
        load_model(directory)


@pytest.mark.parametrize("is_named", [True, False])
def test_a_model_without_autoencoder_scores_and_makes_no_images(copy_of_pipeline, random_model, is_named):
    directory = copy_of_pipeline()
    shutil.rmtree(directory / "vae")
    if not is_named:
        edit_json(directory / "model_index.json", vae=[None, None])
    model, embedding = load_model(directory), random_model.embed(["a", "b"])
    with torch.no_grad():
        torch.testing.assert_close(model.predict(x(), 500, embedding), random_model.predict(x(), 500, embedding))
    with pytest.raises(NotApplicableError, match=r"has no autoencoder \(vae\)"):
        model.decode(x())
