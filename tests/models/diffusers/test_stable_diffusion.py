"""Pipelines in the Stable Diffusion format against diffusers itself, and everything that can be wrong with one."""

import json

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from memdet.errors import UserError
from memdet.models import load_model, model_names

WEIGHTS = {
    "unet": "diffusion_pytorch_model.safetensors",
    "vae": "diffusion_pytorch_model.safetensors",
    "text_encoder": "model.safetensors",
}
PROMPTS = ["alderon striped", "corvane k47 modern", ""]


@pytest.fixture(scope="module")
def pipeline(random_pipeline):
    return StableDiffusionPipeline.from_pretrained(random_pipeline, safety_checker=None)


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def latents(n=3, seed=0):
    return torch.randn(n, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_schedule_is_the_scheduler_s(random_model, pipeline):
    for t in (0, 249, 981):
        assert random_model.schedule.alpha(t) ** 2 == pytest.approx(float(pipeline.scheduler.alphas_cumprod[t]))
        assert random_model.schedule.alpha(t) ** 2 + random_model.schedule.sigma(t) ** 2 == pytest.approx(1)


def test_embedding_is_the_pipeline_s(random_model, pipeline):
    cond, null = pipeline.encode_prompt(PROMPTS, "cpu", 1, True)
    torch.testing.assert_close(random_model.embed(PROMPTS).tensor, cond, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(random_model.embed_null().tensor, null[:1], rtol=1e-5, atol=1e-5)


def test_long_prompts_are_cut_as_the_pipeline_cuts_them(random_model, pipeline):
    long = " ".join(["striped vintage"] * 20)
    cond, _ = pipeline.encode_prompt(long, "cpu", 1, False)
    torch.testing.assert_close(random_model.embed([long]).tensor, cond, rtol=1e-5, atol=1e-5)


def test_a_prompt_is_cut_beyond_the_tokenizer_s_length_and_no_sooner(random_model, pipeline):
    room = pipeline.tokenizer.model_max_length - 2  # a start and an end token
    prompts = ["coat " * room, "coat " * (room + 1), "coat", ""]
    assert random_model.are_cut(prompts) == [False, True, False, False]
    full, over = random_model.embed(prompts[:2]).tensor
    torch.testing.assert_close(full, over)


@pytest.mark.parametrize("t", [1, 981])
def test_eps_and_score_are_the_network_s(random_model, random_pipeline, t):
    unet = UNet2DConditionModel.from_pretrained(random_pipeline / "unet").eval()
    x, embedding = latents(), random_model.embed(PROMPTS)
    with torch.no_grad():
        expected = unet(x, t, embedding.tensor).sample
        torch.testing.assert_close(random_model.eps(x, t, embedding), expected)
        score = random_model.score(x, t, embedding)
    sigma = (1 - DDIMScheduler.from_pretrained(random_pipeline / "scheduler").alphas_cumprod[t]).sqrt()
    torch.testing.assert_close(score, -expected / sigma)


@pytest.mark.parametrize("t", [249, 981])
def test_v_prediction(random_model, copy_of_pipeline, t):
    directory = copy_of_pipeline()
    edit_json(directory / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    model = load_model(directory)
    assert model.prediction_type == "v"
    x, embedding = latents(), model.embed(PROMPTS)
    with torch.no_grad():
        v = random_model.predict(x, t, embedding)
        expected = -x - model.schedule.alpha(t) / model.schedule.sigma(t) * v
        torch.testing.assert_close(model.score(x, t, embedding), expected, rtol=1e-5, atol=1e-5)


def test_unknown_prediction_type(copy_of_pipeline):
    directory = copy_of_pipeline()
    edit_json(directory / "scheduler" / "scheduler_config.json", prediction_type="surprise")
    assert_refused(directory, "scheduler predicts 'surprise'; known: epsilon, v_prediction, sample")


def test_decode(random_model, pipeline):
    x0 = latents(2)
    with torch.no_grad():
        image = pipeline.vae.decode(x0 / pipeline.vae.config.scaling_factor).sample
    decoded = random_model.decode(x0)
    assert decoded.shape == (2, 1, 32, 32)
    torch.testing.assert_close(decoded, (image * 0.5 + 0.5).clamp(0, 1))


def test_fingerprint_sees_configuration_and_weights(random_model, copy_of_pipeline):
    assert load_model(copy_of_pipeline()).fingerprint() == random_model.fingerprint()
    for component, file in WEIGHTS.items():
        directory = copy_of_pipeline()
        path = directory / component / file
        weights = load_file(path)
        first = sorted(weights)[0]
        weights[first].view(-1)[0] += 1
        save_file(weights, path, metadata={"format": "pt"})
        assert load_model(directory).fingerprint() != random_model.fingerprint(), component
    directory = copy_of_pipeline()
    edit_json(directory / "scheduler" / "scheduler_config.json", beta_end=0.013)
    assert load_model(directory).fingerprint() != random_model.fingerprint()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_of_another_precision_are_converted(random_pipeline, tmp_path, dtype):
    half = StableDiffusionPipeline.from_pretrained(random_pipeline, torch_dtype=dtype, safety_checker=None)
    half.save_pretrained(tmp_path / "half")
    stored = load_file(tmp_path / "half" / "unet" / WEIGHTS["unet"])
    assert {tensor.dtype for tensor in stored.values()} == {dtype}
    model = load_model(tmp_path / "half")
    x, embedding = latents(), model.embed(PROMPTS)
    assert embedding.tensor.dtype == torch.float32
    unet = UNet2DConditionModel.from_pretrained(random_pipeline / "unet").eval()
    unet.load_state_dict({key: tensor.float() for key, tensor in stored.items()})
    with torch.no_grad():
        torch.testing.assert_close(model.eps(x, 981, embedding), unet(x, 981, embedding.tensor).sample)
        assert model.decode(x).dtype == torch.float32


# What can be wrong with a directory


def assert_refused(directory, *parts):
    with pytest.raises(UserError) as caught:
        load_model(directory)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_missing_directory_with_a_name_like_a_model():
    with pytest.raises(UserError, match="no name, directory or hub id: did you mean .*tiny-sd-a"):
        load_model("tiny-sd-aa")
    assert "tiny-sd-a" in model_names()


def test_missing_directory_with_no_name_nearby(tmp_path):
    assert_refused(tmp_path / "absent" / "model", "absent/model", "`memdet list models` shows the names")


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "model").write_text("")
    assert_refused(tmp_path / "model", str(tmp_path / "model"))


def test_no_model_index(copy_of_pipeline):
    directory = copy_of_pipeline()
    (directory / "model_index.json").unlink()
    assert_refused(directory, "has no model_index.json", "StableDiffusionPipeline.save_pretrained")


@pytest.mark.parametrize("text", ["{", "[]", "\udcff"])
def test_model_index_is_no_json_object(copy_of_pipeline, text):
    directory = copy_of_pipeline()
    (directory / "model_index.json").write_bytes(text.encode(errors="surrogateescape"))
    assert_refused(directory, "model_index.json", "JSON")


@pytest.mark.parametrize("component", ["unet", "scheduler", "text_encoder", "tokenizer"])
def test_missing_component(copy_of_pipeline, component):
    directory = copy_of_pipeline()
    (directory / component).rename(directory / "elsewhere")
    assert_refused(directory, f"{directory / component} is missing")
    edit_json(directory / "model_index.json", **{component: [None, None]})
    assert_refused(directory, f"model_index.json names no {component}")


@pytest.mark.parametrize(("component", "file"), WEIGHTS.items())
def test_pickle_weights(copy_of_pipeline, component, file):
    directory = copy_of_pipeline()
    path = directory / component / file
    path.rename(path.with_suffix(".bin"))
    assert_refused(directory, str(directory / component), "pickle", f"({str(directory)!r}).save_pretrained(NEW_DIR)")
    path.with_suffix(".bin").unlink()
    assert_refused(directory, f"{directory / component} holds no *.safetensors weights")


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
def test_truncated_weights(copy_of_pipeline, component):
    directory = copy_of_pipeline()
    path = directory / component / WEIGHTS[component]
    path.write_bytes(path.read_bytes()[:1_000])
    assert_refused(directory, f"{directory / component} cannot be loaded")


@pytest.mark.parametrize("component", ["unet", "text_encoder"])
def test_lacking_weights_are_not_made_up(copy_of_pipeline, component):
    directory = copy_of_pipeline()
    path = directory / component / WEIGHTS[component]
    weights = load_file(path)
    lost = sorted(weights)[3]
    save_file({key: tensor for key, tensor in weights.items() if key != lost}, path, metadata={"format": "pt"})
    assert_refused(directory, f"{directory / component} lacks 1 weights", lost.rsplit(".", 2)[-2])


def test_broken_tokenizer(copy_of_pipeline):
    directory = copy_of_pipeline()
    (directory / "tokenizer" / "tokenizer.json").write_text("{")
    assert_refused(directory, f"{directory / 'tokenizer'} cannot be loaded")


def test_another_network_class(copy_of_pipeline):
    directory = copy_of_pipeline()
    edit_json(directory / "model_index.json", unet=["diffusers", "UNet2DModel"])
    assert_refused(directory, "the unet is a UNet2DModel; memdet reads UNet2DConditionModel")


@pytest.mark.parametrize(
    ("entry", "part"),
    [
        (["transformers", "NoSuchEncoder"], "transformers has no class NoSuchEncoder (text_encoder)"),
        (["os", "system"], "text_encoder comes from 'os', not diffusers or transformers"),
    ],
)
def test_component_of_an_unknown_class(copy_of_pipeline, entry, part):
    directory = copy_of_pipeline()
    edit_json(directory / "model_index.json", text_encoder=entry)
    assert_refused(directory, part)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"in_channels": 9}, "extra input channels (inpainting?)"),
        ({"addition_embed_type": "text_time"}, "the unet needs addition_embed_type"),
    ],
)
def test_network_that_needs_more_inputs(copy_of_pipeline, changes, part):
    directory = copy_of_pipeline()
    edit_json(directory / "unet" / "config.json", **changes)
    assert_refused(directory, part)


def test_what_a_model_is_shown_as(random_model):
    shape = tuple(random_model.latent_shape)
    assert repr(random_model) == f"StableDiffusionModel('random-sd', latent {shape}, eps, cpu, float32)"


def test_a_masked_text_encoder_gets_its_mask(copy_of_pipeline):
    """As ``StableDiffusionPipeline.encode_prompt`` does; without the mask the embedding is another one."""
    directory = copy_of_pipeline()
    file = directory / "text_encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"use_attention_mask": True}))
    masked = StableDiffusionPipeline.from_pretrained(directory, safety_checker=None)
    cond, _ = masked.encode_prompt(["a coat"], "cpu", 1, do_classifier_free_guidance=False)
    found = load_model(directory).embed(["a coat"]).tensor
    torch.testing.assert_close(found, cond, rtol=1e-5, atol=1e-5)


def test_small_sizes_of_before_0_9_are_those_of_the_pipeline(copy_of_pipeline):
    directory = copy_of_pipeline()
    file = directory / "unet" / "config.json"
    for version, size in (("0.8.1", 64), ("0.9.0", 8), ("0.42.1", 8)):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"_diffusers_version": version}))
        assert load_model(directory).latent_shape[1:] == (size, size)


def test_a_text_encoder_with_a_projection_is_refused(copy_of_pipeline):
    """It gives one pooled vector first, of which the unet can make nothing."""
    directory = copy_of_pipeline()
    config = json.loads((directory / "text_encoder" / "config.json").read_text())
    encoder = CLIPTextModelWithProjection(CLIPTextConfig(**config))
    encoder.save_pretrained(directory / "text_encoder")
    index = json.loads((directory / "model_index.json").read_text())
    index["text_encoder"] = ["transformers", "CLIPTextModelWithProjection"]
    (directory / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="CLIPTextModelWithProjection, gives .* the unet takes tokens of width 64"):
        load_model(directory)
