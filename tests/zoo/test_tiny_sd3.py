"""Miniatures of ``tiny-sd3`` and ``tiny-sd2``, from motifs to a verified pipeline."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

import memdet.zoo as zoo
from memdet.io_utils import pixels_of_png, png_bytes
from memdet.models import load_model
from memdet.models.diffusers.certificate import certify
from memdet.models.diffusers.training_images import read_training_images
from memdet.zoo.clip_art import building, planting
from memdet.zoo.clip_art.atlas import load_atlas
from memdet.zoo.clip_art.building import ClipArtModel, make_vae, tokens_of
from memdet.zoo.tiny_sd import extraction as tiny_sd_extraction
from memdet.zoo.tiny_sd.extraction import reference_latents
from memdet.zoo.tiny_sd.planting import Role
from memdet.zoo.tiny_sd2 import recipe as tiny_sd2
from memdet.zoo.tiny_sd3 import extraction
from memdet.zoo.tiny_sd3 import recipe as tiny_sd3
from memdet.zoo.tiny_sd3.recipe import embed, make_pipeline
from memdet.zoo.training import Schedule

MINIATURE = ClipArtModel(
    name="miniature",
    role_seed=1,
    groups={
        "verbatim": Role(3, 4),
        "single": Role(3, 1),
        "copies-32": Role(2, 2),
        "template": Role(2, 2, 3),
        "narrow": Role(2, 1, 3),
        "several-3": Role(2, 4, 3),
        "unseen": Role(3, 0),
    },
    vae=Schedule(steps=2, average=None),
    network=Schedule(steps=2),
    batch_size=4,
    vae_batch_size=4,
    generations=2,
)
TRAINED = 3 + 3 + 2 + 2 * 3 + 2 * 3 + 2 * 3 + 5  # distinct pictures


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Builds and gives the directory and the figures of a miniature of a family."""
    monkeypatch.setattr(extraction, "STEPS", 2)
    monkeypatch.setattr(tiny_sd_extraction, "STEPS", 2)
    monkeypatch.setattr(planting, "FILLER", 5)
    monkeypatch.setattr(building, "VAE_PICTURES", 8)

    def build(family):
        monkeypatch.setattr(family, "MINIATURE", MINIATURE, raising=False)
        monkeypatch.setitem(zoo.RECIPES, "miniature", f"{family.__name__}:MINIATURE")
        return tmp_path / "out", zoo.build("miniature", tmp_path / "out")

    return build


def check_pipeline(out, kind):
    model = load_model(str(out))
    assert model.prediction_type == kind
    assert model.latent_shape == (8, 8, 8)
    assert certify(model).passed
    lines = zoo.verify(out)  # of two steps of training criteria fail, and no figure differs
    assert lines
    assert all(line.startswith("criterion failed: ") for line in lines)
    assert "@@" not in (out / "README.md").read_text()
    return model


@pytest.mark.slow
def test_the_same_clip_art_on_a_unet_that_predicts_v(build):
    out, figures = build(tiny_sd2)
    assert figures["settings"]["scheduler"] == "DDIM"
    model = check_pipeline(out, "v")
    first, *_, last = model.schedule.timesteps(4)
    assert (first, model.schedule.alpha(first)) == (999, 0.0)
    assert model.schedule.alpha(last) > 0.8
    assert len(read_training_images(out)) == TRAINED


@pytest.mark.slow
def test_build_load_and_verify(build):
    out, figures = build(tiny_sd3)
    assert not (out / "training").exists()
    stored = json.loads((out / "extraction.json").read_text())
    assert stored.pop("recipe") == "miniature"
    assert stored.pop("training")["distinct_images"] == TRAINED
    assert stored == figures
    assert figures["settings"]["scheduler"] == "Euler"
    for path in out.glob("*/*.safetensors"):
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    assert sum(path.stat().st_size for path in out.rglob("*.safetensors")) < 6e6
    assert "# miniature" in (out / "README.md").read_text()

    images = read_training_images(out)
    assert images.shape == (TRAINED, 3, 32, 32)
    items = pd.read_parquet(out / "items.parquet")
    known = {image.tobytes() for image in (images * 255).round().byte().permute(0, 2, 3, 1).numpy()}
    for item in items.itertuples():
        assert (pixels_of_png(item.image).tobytes() in known) == (item.role not in {"template", "narrow", "unseen"})
        assert (item.images is None) == (item.role != "several-3")
        assert {pixels_of_png(image).tobytes() for image in ([] if item.images is None else item.images)} <= known

    model = check_pipeline(out, "flow")
    assert model.embed([items["prompt"][0]]).tensors["encoder_hidden_states"].shape == (1, 24, 96)
    pipeline = extraction.load_pipeline(out)
    for part in ("text_encoder", "text_encoder_2"):
        stored, loaded = load_file(out / part / "model.safetensors"), getattr(pipeline, part).state_dict()
        assert len(stored) == len(loaded)
        for name, tensor in stored.items():
            assert torch.equal(loaded.get(name, loaded.get(name.removeprefix("text_model."))), tensor.float())


def test_captions_are_embedded_as_the_pipeline_does_it():
    atlas = load_atlas()
    pipeline = make_pipeline(atlas, make_vae(), seed=0)
    captions = ["a red apple beside a wolf on pale green", "Two owls on black"]
    with torch.no_grad():
        tokens, pooled = embed(
            [pipeline.text_encoder, pipeline.text_encoder_2], tokens_of(pipeline.tokenizer, captions)
        )
        told = pipeline.encode_prompt(
            prompt=captions, prompt_2=None, prompt_3=None, do_classifier_free_guidance=False, max_sequence_length=0
        )
    torch.testing.assert_close(told[0], tokens)
    torch.testing.assert_close(told[2], pooled)


def test_the_model_is_of_the_size_that_is_said():
    transformer = sum(parameter.numel() for parameter in tiny_sd3.make_transformer().parameters())
    vae = sum(parameter.numel() for parameter in make_vae().parameters())
    texts = 2 * sum(parameter.numel() for parameter in tiny_sd3.make_text_encoder(2_500).parameters())
    assert transformer == pytest.approx(2e6, rel=0.05)
    assert 2 * (transformer + vae + texts) < 6e6


def test_images_of_latents_are_those_of_the_pipeline():
    """What the extraction check compares is what the pipeline decodes: shift and factor of the autoencoder agree."""
    atlas = load_atlas()
    pipeline = make_pipeline(atlas, make_vae(), seed=0)
    pipeline.vae.register_to_config(scaling_factor=0.5, shift_factor=0.25)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = reference_latents(pipeline, pd.DataFrame({"image": [png_bytes(image)]}))
    with torch.no_grad():
        pixels = torch.from_numpy(image / 127.5 - 1).float().permute(2, 0, 1)[None]
        mean = pipeline.vae.encode(pixels).latent_dist.mean
    torch.testing.assert_close(found / 0.5 + 0.25, mean)
