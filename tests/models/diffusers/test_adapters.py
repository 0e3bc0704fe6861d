"""LoRA and textual inversion against diffusers' own pipelines, and adapters that lie beside a model."""

from __future__ import annotations

import re

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from memdet.errors import UserError
from memdet.models import load_model
from memdet.models.condition import Condition
from memdet.models.diffusers import adapters
from memdet.models.diffusers.opened import Opened
from memdet.models.diffusers.pipeline import load_pipeline
from memdet.models.load_options import LoadOptions
from tests.helpers.lora import needs_peft, write_lora

PROMPTS = ["alderon striped", "a <coat> by corvane", ""]


def x(n=3):
    return torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def lora(random_pipeline, tmp_path_factory):
    """A LoRA of random weights, in diffusers' format."""
    return write_lora(random_pipeline, tmp_path_factory.mktemp("lora") / "pytorch_lora_weights.safetensors")


@pytest.fixture(scope="module")
def tokens(random_model, tmp_path_factory):
    """A learned token of three vectors, in diffusers' format."""
    width = random_model.embed([""]).tensors["encoder_hidden_states"].shape[-1]
    path = tmp_path_factory.mktemp("tokens") / "learned_embeds.safetensors"
    save_file({"<coat>": torch.randn(3, width, generator=torch.Generator().manual_seed(6))}, path)
    return path


def assert_alike(model, pipeline, prompts=PROMPTS):
    """The pipeline's own encoding and network, on both branches."""
    conditional, null = pipeline.encode_prompt(prompts, "cpu", 1, True, negative_prompt=[""] * len(prompts))
    for ours, theirs in ((model.embed(prompts), conditional), (model.embed_null(), null[:1])):
        torch.testing.assert_close(ours.tensors["encoder_hidden_states"], theirs, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        expected = pipeline.unet(x(), 500, conditional).sample
        found = model.predict(x(), 500, Condition.of(conditional, "encoder_hidden_states"))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def assert_refused(reference, options, *parts):
    with pytest.raises(UserError) as caught:
        load_model(reference, options=options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


@needs_peft
@pytest.mark.slow
@pytest.mark.parametrize("scale", [None, 0.5, -1.0])
def test_a_lora_is_fused_as_the_pipeline_fuses_it(random_pipeline, random_model, lora, scale):
    pipeline = StableDiffusionPipeline.from_pretrained(random_pipeline, safety_checker=None)
    pipeline.load_lora_weights(str(lora.parent), weight_name=lora.name)
    pipeline.fuse_lora(lora_scale=1.0 if scale is None else scale)
    model = load_model(random_pipeline, options=LoadOptions(lora=str(lora) + ("" if scale is None else f":{scale}")))
    assert_alike(model, pipeline)
    with torch.no_grad():
        embedding = random_model.embed(PROMPTS)
        assert (model.predict(x(), 500, embedding) - random_model.predict(x(), 500, embedding)).abs().max() > 1e-3
    assert not any(p.requires_grad for p in model._unet.parameters())
    assert model.remarks() == ()


@needs_peft
def test_loras_add_up_and_belong_to_what_a_model_is(random_pipeline, random_model, lora):
    def fingerprint(*texts):
        return load_model(random_pipeline, options=LoadOptions(lora=texts)).fingerprint()

    half = load_model(random_pipeline, options=LoadOptions(lora=(f"{lora}:0.5", f"{lora}:0.5")))
    whole = load_model(random_pipeline, options=LoadOptions(lora=(str(lora),)))
    embedding = random_model.embed(PROMPTS)
    with torch.no_grad():
        torch.testing.assert_close(
            half.predict(x(), 500, embedding), whole.predict(x(), 500, embedding), rtol=1e-5, atol=1e-5
        )
    found = {random_model.fingerprint(), half.fingerprint(), whole.fingerprint(), fingerprint(f"{lora}:0.25")}
    assert len(found) == 4
    assert fingerprint("none") == random_model.fingerprint()
    assert set(whole.files()) - set(random_model.files()) == {"1. LoRA pytorch_lora_weights.safetensors, scale 1"}
    assert whole.name == "random-sd+pytorch_lora_weights"


@needs_peft
def test_a_lora_of_another_base_is_refused(random_pipeline, tmp_path):
    name = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(
        {f"{name}.lora_A.weight": torch.ones(2, 3), f"{name}.lora_B.weight": torch.ones(3, 2)},
        tmp_path / "a.safetensors",
    )
    assert_refused(random_pipeline, LoadOptions(lora=str(tmp_path / "a.safetensors")), "a.safetensors")
    elsewhere = {
        "unet.nowhere.to_q.lora_A.weight": torch.ones(2, 3),
        "unet.nowhere.to_q.lora_B.weight": torch.ones(3, 2),
    }
    save_file(elsewhere, tmp_path / "b.safetensors")
    assert_refused(random_pipeline, LoadOptions(lora=str(tmp_path / "b.safetensors")), "b.safetensors")


@needs_peft
def test_tensors_that_fit_nowhere_are_told(random_pipeline, lora, tmp_path):
    more = load_file(lora) | {
        "unet.nowhere.to_q.lora_A.weight": torch.ones(2, 3),
        "unet.nowhere.to_q.lora_B.weight": torch.ones(3, 2),
    }
    save_file(more, tmp_path / "more.safetensors")
    model = load_model(random_pipeline, options=LoadOptions(lora=str(tmp_path / "more.safetensors")))
    assert model.remarks() == (
        f"more.safetensors: 2 of {len(more)} tensors fit nowhere, and diffusers leaves them out",
    )


def test_a_lora_needs_peft(random_pipeline, lora, monkeypatch):
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    assert_refused(
        random_pipeline, LoadOptions(lora=str(lora)), "`lora` needs peft and accelerate", "pip install 'memdet[lora]'"
    )


def test_a_learned_token_of_several_vectors_is_read_as_the_pipeline_reads_it(random_pipeline, random_model, tokens):
    pipeline = StableDiffusionPipeline.from_pretrained(random_pipeline, safety_checker=None)
    pipeline.load_textual_inversion(str(tokens.parent), weight_name=tokens.name)
    model = load_model(random_pipeline, options=LoadOptions(textual_inversion=str(tokens)))
    assert_alike(model, pipeline)
    assert model.fingerprint() != random_model.fingerprint()
    count = len(pipeline.tokenizer(pipeline.maybe_convert_prompt("a <coat>", pipeline.tokenizer)).input_ids)
    assert model.end_positions(["a <coat>"]).tolist() == [count - 1]
    room = model._tokens - 2
    assert model.are_cut(["<coat>" + " striped" * (room - 3), "<coat>" + " striped" * (room - 2)]) == [False, True]


def test_a_pipeline_that_was_saved_with_learned_tokens_expands_them(random_pipeline, tokens, tmp_path):
    pipeline = StableDiffusionPipeline.from_pretrained(random_pipeline, safety_checker=None)
    pipeline.load_textual_inversion(load_file(tokens))
    pipeline.save_pretrained(tmp_path / "saved")
    assert_alike(load_model(tmp_path / "saved"), StableDiffusionPipeline.from_pretrained(tmp_path / "saved"))


def test_a_token_can_be_named(random_pipeline, tokens, tmp_path):
    vectors = load_file(tokens)["<coat>"]
    save_file({"emb_params": vectors}, tmp_path / "a1111.safetensors")
    path = tmp_path / "a1111.safetensors"
    assert_refused(random_pipeline, LoadOptions(textual_inversion=str(path)), "does not say its token", "<token>")
    named = load_model(random_pipeline, options=LoadOptions(textual_inversion=f"{path}:<coat>"))
    own = load_model(random_pipeline, options=LoadOptions(textual_inversion=str(tokens)))
    torch.testing.assert_close(*(m.embed(PROMPTS).tensors["encoder_hidden_states"] for m in (named, own)))
    other = load_model(random_pipeline, options=LoadOptions(textual_inversion=f"{path}:<hat>"))
    assert other.fingerprint() != named.fingerprint()


# Adapters that lie beside a model


def put(directory, name, tensors=None):
    (directory / name).parent.mkdir(exist_ok=True)
    save_file(tensors or {"unet.a.lora_A.weight": torch.ones(1, 1)}, directory / name)


@pytest.mark.parametrize(
    ("name", "tensors", "option"),
    [
        ("pytorch_lora_weights.safetensors", None, "lora"),
        ("style-v2.safetensors", {"lora_unet_mid_block.lora_down.weight": torch.ones(1, 1)}, "lora"),
        ("unet/adapter_model.safetensors", {"base_model.model.to_q.lora_A.weight": torch.ones(1, 1)}, "lora"),
        ("lora/anything.safetensors", {"unet.to_q_lora.up.weight": torch.ones(1, 1)}, "lora"),
        ("learned_embeds.safetensors", {"<cat>": torch.ones(1, 8)}, "textual_inversion"),
        ("concept.safetensors", {"<cat>": torch.ones(2, 8)}, "textual_inversion"),
    ],
)
def test_an_adapter_beside_a_model_is_never_passed_over(copy_of_pipeline, random_model, name, tensors, option):
    directory = copy_of_pipeline()
    put(directory, name, tensors)
    assert_refused(directory, None, name, f"`{option}` {name} puts it on", f"`{option}` none")
    other = {"lora": "textual_inversion", "textual_inversion": "lora"}[option]
    assert_refused(directory, LoadOptions(**{other: "none"}), name)
    model = load_model(directory, options=LoadOptions(**{option: "none"}))
    assert model.fingerprint() == random_model.fingerprint()


@pytest.mark.parametrize("name", ["pytorch_lora_weights.bin", "learned_embeds.bin"])
def test_a_pickled_adapter_beside_a_model(copy_of_pipeline, name):
    directory = copy_of_pipeline()
    (directory / name).write_bytes(b"")
    assert_refused(directory, None, name, "convert it to safetensors", "weights_only=True", "none")
    option = "lora" if "lora" in name else "textual_inversion"
    assert_refused(directory, LoadOptions(**{option: name}), "is a pickle", "save_file")


@needs_peft
def test_an_adapter_is_found_in_the_model_s_own_directory(copy_of_pipeline, lora):
    directory = copy_of_pipeline()
    (directory / lora.name).write_bytes(lora.read_bytes())
    inside = load_model(directory, options=LoadOptions(lora=lora.name))
    assert inside.fingerprint() == load_model(directory, options=LoadOptions(lora=str(lora))).fingerprint()


def test_other_weights_beside_a_model_are_told(copy_of_pipeline, random_model):
    directory = copy_of_pipeline()
    put(directory, "v1-5-pruned.safetensors", {"model.diffusion_model.a": torch.ones(1), "b": torch.ones(1)})
    model = load_model(directory)
    assert model.remarks() == ("v1-5-pruned.safetensors beside the model: not read, as diffusers does not read it",)
    assert model.fingerprint() == random_model.fingerprint()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"lora": "nowhere.safetensors"}, "`lora`: no file nowhere.safetensors; write FILE or FILE:scale"),
        ({"lora": "nowhere.safetensors:0.5"}, "`lora`: no file nowhere.safetensors; write"),
        ({"lora": "{file}:much"}, "the scale 'much' is no number"),
        ({"lora": "{file}:nan"}, "the scale 'nan' is no number"),
        ({"lora": ("none", "{file}")}, "`lora` has none beside a file"),
        ({"lora": ""}, "`lora` has an empty entry"),
        ({"textual_inversion": "{file}"}, "is a LoRA; it is no textual inversion"),
        ({"textual_inversion": "nowhere.safetensors"}, "`textual_inversion`: no file nowhere.safetensors"),
        ({"lora": "{tokens}"}, "is a textual inversion; it is no LoRA"),
        ({"lora": "{config}"}, "is no safetensors file"),
    ],
)
def test_what_is_no_adapter(random_pipeline, lora, tokens, options, words):
    places = {"file": lora, "tokens": tokens, "config": random_pipeline / "model_index.json"}
    filled = {
        name: value.format(**places) if isinstance(value, str) else tuple(one.format(**places) for one in value)
        for name, value in options.items()
    }
    with pytest.raises(UserError, match=re.escape(words)):
        load_model(random_pipeline, options=LoadOptions(**filled))


@pytest.mark.parametrize("name", ["fashion-pixel", "toy-2d"])
def test_models_without_text_take_no_adapters(name, tokens):
    with pytest.raises(UserError, match="puts no textual inversion"):
        load_model(name, options=LoadOptions(textual_inversion=str(tokens)))
    with pytest.raises(UserError, match=r"mixture-2d is a closed form, without files; leave `base` out"):
        load_model("mixture-2d", options=LoadOptions(base="x"))


def test_the_conversion_of_a_mixed_directory_works(copy_of_pipeline, tmp_path, random_model):
    directory = copy_of_pipeline()
    path = directory / "unet" / "diffusion_pytorch_model.safetensors"
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    with pytest.raises(UserError, match="pickle") as caught:
        load_model(directory)
    call = re.search(r"StableDiffusionPipeline\.from_pretrained\(.*?\)", str(caught.value))[0]
    eval(call, {"StableDiffusionPipeline": StableDiffusionPipeline}).save_pretrained(tmp_path / "new")
    with torch.no_grad():
        embedding = random_model.embed(PROMPTS)
        new = load_model(tmp_path / "new")
        torch.testing.assert_close(new.predict(x(), 500, embedding), random_model.predict(x(), 500, embedding))


# Whole pipelines, for the families that are read by their own call


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_a_whole_pipeline_from_any_variant_with_a_learned_token(random_pipeline, tokens, tmp_path, variant):
    theirs = StableDiffusionPipeline.from_pretrained(random_pipeline, safety_checker=None)
    theirs.save_pretrained(tmp_path / "saved", variant=variant)
    theirs.load_textual_inversion(load_file(tokens))
    adapter = adapters.Adapter("textual inversion", tokens)
    ours, remarks = load_pipeline(Opened(tmp_path / "saved", (adapter,)), torch.device("cpu"), torch.float32)
    assert (type(ours), remarks) == (StableDiffusionPipeline, [])
    found, expected = (pipeline.encode_prompt(PROMPTS, "cpu", 1, False)[0] for pipeline in (ours, theirs))
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(ours.unet(x(), 5, found).sample, theirs.unet(x(), 5, expected).sample)
    networks = [part for part in ours.components.values() if isinstance(part, torch.nn.Module)]
    assert not any(network.training or any(p.requires_grad for p in network.parameters()) for network in networks)
