"""A miniature build from raw files to a verified pipeline."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

import memdet.zoo as zoo
from memdet.zoo.tiny_sd import extraction
from memdet.zoo.tiny_sd import recipe as tiny_sd
from memdet.zoo.tiny_sd.recipe import TinySD
from memdet.zoo.training import Schedule
from tests.helpers.small_zoo import SMALL_ROLES

pytestmark = pytest.mark.slow

MINIATURE = TinySD(
    name="miniature",
    role_seed=1,
    swap={"verbatim": "single", "single": "verbatim"},
    vae=Schedule(steps=3, average=None),
    unet=Schedule(steps=3),
    batch_size=4,
    vae_batch_size=4,
    generations=2,
)


@pytest.fixture
def built(tmp_path, small_roles, small_files, monkeypatch):
    monkeypatch.setattr(extraction, "STEPS", 3)
    monkeypatch.setattr(tiny_sd, "MINIATURE", MINIATURE, raising=False)
    monkeypatch.setitem(zoo.RECIPES, "miniature", "memdet.zoo.tiny_sd.recipe:MINIATURE")
    out = tmp_path / "out"
    figures = zoo.build("miniature", out, small_files)
    return out, figures


def test_build_and_verify(built):
    out, figures = built
    assert not (out / "training").exists()
    stored = json.loads((out / "extraction.json").read_text())
    assert stored.pop("recipe") == "miniature"
    assert stored.pop("training")["training_set"] == 324
    assert stored == figures

    items = pd.read_parquet(out / "items.parquet")
    assert items["role"].value_counts().to_dict() == {name: role.items for name, role in SMALL_ROLES.items()}
    card = (out / "README.md").read_text()
    assert "# miniature" in card
    assert "verbatim became single, single became verbatim" in card

    for path in out.glob("*/*.safetensors"):
        assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    pipeline = StableDiffusionPipeline.from_pretrained(out, use_safetensors=True).to(dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    image = pipeline(items["prompt"][0], num_inference_steps=2, output_type="np").images
    assert image.shape == (1, 32, 32, 1)

    # three steps of training memorize nothing: verify agrees with every figure, and says which criteria fail
    lines = zoo.verify(out)
    failed = [criterion for criterion in figures["criteria"] if not criterion["met"]]
    assert failed
    assert len(lines) == len(failed)
    assert all(line.startswith("criterion failed: ") for line in lines)

    altered = json.loads((out / "extraction.json").read_text())
    altered["roles"]["single"]["median_rmse"] += 0.02
    altered["auroc"]["verbatim vs single"] += 0.005
    altered["roles"]["unseen"]["items"] += 1
    del altered["auroc"]["template vs single"]
    (out / "extraction.json").write_text(json.dumps(altered))
    lines = [line for line in zoo.verify(out) if not line.startswith("criterion")]
    assert [line.split(":")[0] for line in lines] == [
        "auroc template vs single",
        "roles single median_rmse",
        "roles unseen items",
    ]


def test_transformers_4_finds_names_that_it_knows(built):
    out, _ = built
    assert json.loads((out / "model_index.json").read_text())["tokenizer"][1] == "PreTrainedTokenizerFast"
    config = json.loads((out / "tokenizer" / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "PreTrainedTokenizerFast"
    weights = load_file(out / "text_encoder" / "model.safetensors")
    assert all(name.startswith("text_model.") for name in weights)
    loaded = extraction.load_pipeline(out).text_encoder.state_dict()
    for name, tensor in weights.items():
        key = name if name in loaded else name.removeprefix("text_model.")
        assert torch.equal(loaded[key], tensor.float())


def test_an_interrupted_build_keeps_its_checkpoints(tmp_path, small_roles, small_files, monkeypatch):
    def fail(directory, seeds):
        raise KeyboardInterrupt

    monkeypatch.setattr(extraction, "measure", fail)
    with pytest.raises(KeyboardInterrupt):
        tiny_sd.build(MINIATURE, tmp_path / "out", small_files)
    assert sorted(path.name for path in (tmp_path / "out" / "training").iterdir()) == ["unet.pt", "vae.pt"]
