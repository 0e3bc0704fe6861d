"""Class-conditional pixel pipelines against diffusers itself, and everything that can be wrong with one."""

import json
import shutil

import pandas as pd
import pytest
import torch
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from safetensors.torch import load_file, save_file

from memdet import SampleSet, evaluate
from memdet.curvature import JacobianOperator, Known
from memdet.errors import NotApplicableError, UserError
from memdet.models import load_model
from memdet.models.diffusers.class_conditional import ClassConditionalModel
from memdet.probing import Items
from tests.helpers.problems import make_probe

LABELS = ["coat", "bag", "boot"]
WEIGHTS = "diffusion_pytorch_model.safetensors"


def network_of(**options):
    parameters = {"sample_size": 8, "in_channels": 1, "out_channels": 1, "num_class_embeds": len(LABELS) + 1}
    return UNet2DModel(
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=4,
        **parameters | options,
    ).eval()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    unet = network_of()
    directory = tmp_path_factory.mktemp("models") / "classes"
    scheduler = DDIMScheduler(steps_offset=1, set_alpha_to_one=False, clip_sample=False)
    DDIMPipeline(unet=unet, scheduler=scheduler).save_pretrained(directory)
    (directory / "labels.json").write_text(json.dumps(LABELS))
    return directory


@pytest.fixture
def copied(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


@pytest.fixture(scope="module")
def model(saved):
    return load_model(saved)


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def noisy(n=3, seed=0):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_what_is_loaded(model):
    assert isinstance(model, ClassConditionalModel)
    assert model.latent_shape == (1, 8, 8)
    assert model.prediction_type == "eps"
    assert not model.takes_prompts
    assert model.conditions == LABELS
    assert model.schedule.timesteps(4) == [751, 501, 251, 1]


@pytest.mark.parametrize("t", [1, 981])
def test_eps_and_score_are_the_network_s(model, saved, t):
    unet = UNet2DModel.from_pretrained(saved / "unet").eval()
    x = noisy()
    with torch.no_grad():
        expected = unet(x, t, class_labels=torch.tensor([2, 0, 1])).sample
        torch.testing.assert_close(model.eps(x, t, model.embed(["boot", "coat", "bag"])), expected)
        null = unet(x, t, class_labels=torch.tensor([3, 3, 3])).sample
        torch.testing.assert_close(model.eps(x, t, model.embed_null()), null)
    sigma = (1 - DDIMScheduler.from_pretrained(saved / "scheduler").alphas_cumprod[t].double()).sqrt().item()
    torch.testing.assert_close(model.score(x, t, model.embed_null()), -null / sigma, rtol=1e-4, atol=1e-4)


def test_v_prediction(model, copied):
    edit_json(copied / "scheduler" / "scheduler_config.json", prediction_type="v_prediction")
    other = load_model(copied)
    x, t = noisy(), 400
    v = model.predict(x, t, model.embed_null())
    expected = other.schedule.alpha(t) * v + other.schedule.sigma(t) * x
    torch.testing.assert_close(other.eps(x, t, other.embed_null()), expected)


@pytest.mark.parametrize("t", [21, 981])
def test_forward_ad_passes_through_the_attention(model, saved, t):
    """Float32 forward AD against float64 central differences, and against the transposed product."""
    exact = load_model(saved, dtype=torch.float64)
    x, v, u = noisy(), noisy(seed=1), noisy(seed=2)
    labels = model.embed(LABELS)
    product = JacobianOperator(lambda z: model.score(z, t, labels), x).mv(v)
    operator = JacobianOperator(lambda z: exact.score(z, t, labels), x.double(), "fd", known=Known(step=1e-5))
    torch.testing.assert_close(product.double(), operator.mv(v.double()), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((u * product).sum(), (operator.rmv(u.double()) * v).sum().float(), rtol=1e-4, atol=1e-4)


def test_decode(model):
    x0 = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0]).view(-1, 1, 1, 1)
    assert model.decode(x0).flatten().tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


def test_without_names_no_class_is_taken_for_the_null_class(copied):
    (copied / "labels.json").unlink()
    found = load_model(copied)
    assert found.conditions == ["0", "1", "2", "3"]
    with pytest.raises(NotApplicableError, match=r"no null branch: nothing says.*write labels\.json.*names of the 3"):
        found.embed_null()
    assert any("no null branch" in remark for remark in found.remarks())


def test_names_of_all_classes_leave_no_null_class(copied, model):
    (copied / "labels.json").write_text(json.dumps([*LABELS, "hat"]))
    found = load_model(copied)
    assert found.conditions == [*LABELS, "hat"]
    with pytest.raises(NotApplicableError, match=r"no null branch: labels\.json names every class"):
        found.embed_null()
    x = noisy()
    torch.testing.assert_close(found.eps(x, 400, found.embed(["hat"])), model.eps(x, 400, model.embed_null()))
    assert not any("null" in remark for remark in [*found.remarks(), *model.remarks()])


@pytest.mark.parametrize("size", [8, (8, 16)])
def test_an_unconditional_network(tmp_path, size):
    unet = network_of(sample_size=size, num_class_embeds=None)
    DDPMPipeline(unet=unet, scheduler=DDPMScheduler()).save_pretrained(tmp_path / "plain")
    found = load_model(tmp_path / "plain")
    assert found.conditions == []
    assert found.latent_shape == (1, 8, 8 if size == 8 else 16)
    x = torch.randn(2, *found.latent_shape)
    with torch.no_grad():
        expected = unet(x, 400).sample
    torch.testing.assert_close(found.predict(x, 400, found.embed(["whatever", "it is"])), expected)
    with pytest.raises(NotApplicableError, match="unconditional: it has no null branch"):
        found.embed_null()


def test_of_a_learned_variance_the_prediction_alone_is_read(tmp_path):
    unet = network_of(in_channels=3, out_channels=6, num_class_embeds=None)
    scheduler = DDPMScheduler(variance_type="learned_range", clip_sample=False)
    DDPMPipeline(unet=unet, scheduler=scheduler).save_pretrained(tmp_path / "variance")
    found = load_model(tmp_path / "variance")
    x = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        output = unet(x, 981).sample
    eps = found.predict(x, 981, found.embed(["a", "b"]))
    torch.testing.assert_close(eps, output[:, :3])
    stepped = scheduler.step(output, 981, x, generator=torch.Generator().manual_seed(0)).pred_original_sample
    alpha, sigma = found.schedule.alpha(981), found.schedule.sigma(981)
    torch.testing.assert_close((x - sigma * eps) / alpha, stepped, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("clips", [True, False])
def test_an_unconditional_trajectory_ends_at_the_pipelines_image(tmp_path, clips):
    unet, scheduler = network_of(num_class_embeds=None), DDIMScheduler(clip_sample=clips)
    pipeline = DDIMPipeline(unet=unet, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(tmp_path / "plain")
    model = load_model(tmp_path / "plain")
    probe = make_probe(model, Items(["a"], ["whatever"], ["a"], [0], has_prompts=False), steps=4, guidance=7.5)
    image = pipeline(generator=torch.Generator().manual_seed(0), num_inference_steps=4, output_type="np").images
    found = model.decode(probe.trajectory().clean()).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, torch.from_numpy(image), rtol=1e-4, atol=1e-4)


@pytest.fixture
def unconditional(tmp_path):
    directory = tmp_path / "ddpm"
    scheduler = DDPMScheduler(clip_sample=False)
    DDPMPipeline(unet=network_of(num_class_embeds=None), scheduler=scheduler).save_pretrained(directory)
    return directory


def test_detectors_of_one_branch_run_without_conditions(unconditional):
    items = SampleSet.from_pandas(pd.DataFrame({"condition": ["a", "b"], "label": [0, 1]}), steps=2, noise="per-item")
    found = evaluate(
        ["hessian-trace", "flipd", "wen2024"], items, model=unconditional, seeds=1, progress=False, device="cpu"
    )
    status = {row["detector"]: row["status"] for row in found.table}
    assert status["wen2024"] == "not-applicable"
    assert status["hessian-trace"] == status["flipd"] == "ok"
    assert any("trajectories follow the condition alone" in text for text in found.manifest.messages[items.id]["model"])


def test_classes_that_a_model_does_not_know_are_refused_before_scores(saved, tmp_path):
    items = SampleSet.from_pandas(pd.DataFrame({"condition": ["coat", "hat"], "label": [0, 1]}))
    with pytest.raises(UserError, match="no condition 'hat'; it knows 3: coat, bag, boot"):
        evaluate("wen2024", items, model=saved, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_pipeline_for_ddpm_is_read_too(model, copied):
    edit_json(copied / "model_index.json", _class_name="DDPMPipeline", scheduler=["diffusers", "DDPMScheduler"])
    assert load_model(copied).fingerprint() == model.fingerprint()


def test_fingerprint_sees_names_configuration_and_weights(model, copied):
    assert load_model(copied).fingerprint() == model.fingerprint()
    (copied / "labels.json").write_text(json.dumps(LABELS[::-1]))
    assert load_model(copied).fingerprint() != model.fingerprint()
    (copied / "labels.json").write_text(json.dumps(LABELS))
    weights = load_file(copied / "unet" / WEIGHTS)
    weights["conv_in.bias"] += 1
    save_file(weights, copied / "unet" / WEIGHTS, metadata={"format": "pt"})
    assert load_model(copied).fingerprint() != model.fingerprint()


# What can be wrong


def test_an_unknown_condition(model):
    with pytest.raises(UserError, match="no condition 'hat'.*knows 3: coat, bag, boot"):
        model.embed(["bag", "hat"])


def assert_refused(directory, *parts):
    with pytest.raises(UserError) as caught:
        load_model(directory)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[", "is not valid JSON"),
        ("{}", "is not a list of names"),
        ('["a", 1, "b"]', "is not a list of names"),
        ("[]", "holds 0 different names"),
        ('["a", "b"]', "holds 2 different names; the unet has 4 classes, or 3 beside a null class"),
        ('["a", "b", "a"]', "holds 2 different names; the unet has 4 classes, or 3 beside a null class"),
    ],
)
def test_names_that_do_not_fit(copied, text, part):
    (copied / "labels.json").write_text(text)
    assert_refused(copied, "labels.json", part)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"num_class_embeds": None}, "the unet has no table of classes"),
        ({"num_class_embeds": 0}, "num_class_embeds of the unet is 0"),
        ({"num_class_embeds": 2}, "the unet has 2 classes, or 1 beside a null class"),
        ({"class_embed_type": "timestep"}, "the unet is told a timestep"),
        ({"out_channels": 3}, "another number of channels"),
        ({"sample_size": None}, "sample_size"),
    ],
)
def test_another_kind_of_network(copied, changes, part):
    edit_json(copied / "unet" / "config.json", **changes)
    assert_refused(copied, str(copied), part)


def test_pickle_weights(copied):
    (copied / "unet" / WEIGHTS).rename(copied / "unet" / "diffusion_pytorch_model.bin")
    assert_refused(copied, "pickle", "DDIMPipeline.from_pretrained", "save_pretrained(NEW_DIR)")


def test_missing_component(copied):
    shutil.rmtree(copied / "scheduler")
    assert_refused(copied, "scheduler is missing", "DDIMPipeline.save_pretrained")


def test_another_network_class(copied):
    edit_json(copied / "model_index.json", unet=["diffusers", "UNet1DModel"])
    assert_refused(copied, "the unet is a UNet1DModel; memdet reads UNet2DModel")
