"""Pipelines of many families from a stand-in hub, from one variant alone, and with a LoRA on their own network."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from memdet.errors import UserError
from memdet.models import LoadOptions, load_model
from memdet.models.diffusers.adapters import Adapter
from memdet.models.diffusers.opened import Opened
from memdet.models.diffusers.pipeline import load_pipeline
from tests.helpers.lora import needs_peft
from tests.helpers.stand_in_hub import Repository
from tests.helpers.tiny_pipelines import FAMILIES, save, small_images

CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=FAMILIES)
def directory(request, tmp_path_factory):
    with small_images():
        yield save(request.param, tmp_path_factory.mktemp("families"))


def networks(pipeline):
    return {name: part for name, part in pipeline.components.items() if isinstance(part, torch.nn.Module)}


def assert_same_weights(one, other):
    assert networks(one).keys() == networks(other).keys() != set()
    for name, network in networks(one).items():
        second = networks(other)[name].state_dict()
        assert network.state_dict().keys() == second.keys()
        assert all(tensor.equal(second[key]) for key, tensor in network.state_dict().items()), name


def test_one_variant_is_read_as_diffusers_reads_it(directory, tmp_path):
    index = json.loads((directory / "model_index.json").read_text())
    absent = {name: None for name, value in index.items() if value == [None, None]}
    theirs = DiffusionPipeline.from_pretrained(directory, **absent)
    theirs.save_pretrained(tmp_path / "half", variant="fp16")
    ours, remarks = load_pipeline(Opened(tmp_path / "half"), CPU, torch.float32)
    assert_same_weights(ours, theirs)
    assert (type(ours), remarks) == (type(theirs), [])
    model = load_model(tmp_path / "half")
    assert any("read from the variant fp16" in remark for remark in model.remarks())


def test_a_family_comes_from_the_hub(directory, hub):
    hub.repositories["org/name"] = Repository({"main": directory})
    model = load_model("org/name")
    assert model.fingerprint() == load_model(directory).fingerprint()
    order = [name.endswith(".safetensors") for name in hub.fetched]
    assert hub.fetched[0] == "model_index.json"
    assert order == sorted(order)


def test_weights_that_are_lacking_are_not_made_up(directory, tmp_path):
    copy = shutil.copytree(directory, tmp_path / "copy")
    file = next(path for path in sorted(copy.rglob("*.safetensors")) if path.parent.name in {"unet", "transformer"})
    weights = load_file(file)
    lost = next(key for key in sorted(weights) if key.endswith("weight"))
    save_file({key: tensor for key, tensor in weights.items() if key != lost}, file, metadata={"format": "pt"})
    with pytest.raises(UserError, match="lacks 1 weights of a"):
        load_model(copy)


@needs_peft
def test_a_lora_is_fused_or_refused(directory, tmp_path):
    plain, _ = load_pipeline(Opened(directory), CPU, torch.float32)
    part = "unet" if "unet" in plain.components else "transformer"
    layers = {name: layer for name, layer in getattr(plain, part).named_modules() if name.endswith("attn1.to_q")}
    layers = layers or {n: m for n, m in getattr(plain, part).named_modules() if n.endswith("to_q")}
    weights, expected = {}, {}
    for name, layer in layers.items():
        a, b = torch.randn(2, layer.in_features), torch.randn(layer.out_features, 2)
        weights |= {f"{part}.{name}.lora_A.weight": a, f"{part}.{name}.lora_B.weight": b}
        expected[name] = layer.weight + 0.5 * b @ a
    save_file(weights, tmp_path / "style.safetensors")
    if not hasattr(plain, "load_lora_weights") or not hasattr(getattr(plain, part), "load_lora_adapter"):
        with pytest.raises(UserError, match="takes no LoRA"):
            load_model(directory, options=LoadOptions(lora=f"{tmp_path / 'style.safetensors'}:0.5"))
        return
    fused, remarks = load_pipeline(
        Opened(directory, (Adapter("LoRA", tmp_path / "style.safetensors", 0.5),)), CPU, torch.float32
    )
    assert remarks == []
    found = dict(getattr(fused, part).named_modules())
    for name, weight in expected.items():
        torch.testing.assert_close(found[name].weight, weight, rtol=1e-5, atol=1e-5)
    assert load_model(directory, options=LoadOptions(lora=str(tmp_path / "style.safetensors")))
