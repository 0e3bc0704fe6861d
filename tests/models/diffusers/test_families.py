"""Pipelines of many families against diffusers itself, on tiny random networks of their own classes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from memdet.detectors import detector_classes, make_detector
from memdet.errors import NotApplicableError, UserError
from memdet.models import load_model
from memdet.models.accelerated import accelerate
from memdet.models.diffusers.captured import CapturedModel
from memdet.models.diffusers.certificate import certify
from memdet.models.diffusers.families import families, family_of
from memdet.probing import Context, Items, Probe
from memdet.samplesets import Protocol
from tests.helpers import family_table
from tests.helpers.tiny_pipelines import FAMILIES, OTHERS, save, small_images

GUIDANCE, STEPS = 3.0, 4
WITHOUT_NULL = {"flux"}
CONDITION_FIRST = {"dit", "lumina2", "qwen-image"}
VIDEOS = {"cogvideox"}
PADDING = {"kandinsky3"}  # whose own call is another one for texts of two lengths
ATTENDING = {
    "kandinsky3",
    "sd3",
    "flux",
    "auraflow",
    "qwen-image",
    "pixart",
    "sana",
}  # to the text, in layers that can be read


@pytest.fixture(scope="module", params=FAMILIES)
def directory(request, tmp_path_factory):
    with small_images():
        yield save(request.param, tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def pipeline(directory):
    from diffusers import DiffusionPipeline

    index = json.loads((directory / "model_index.json").read_text())
    absent = {name: None for name, value in index.items() if value == [None, None]}
    pipeline = DiffusionPipeline.from_pretrained(directory, torch_dtype=torch.float64, **absent).to(torch.float64)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def model(directory, pipeline):
    return CapturedModel(directory, family_of(type(pipeline).__name__), dtype=torch.float64)


def conditions(model):
    if model.family.name in PADDING:
        return ["plain coat", "red dress"]
    return ["plain coat", "a red dress"] if model.takes_prompts else ["3", "7"]


def seen_by(pipeline, model, steps, latents):
    """What the pipeline's own loop gives its network and gets from it, by step and branch, and the latents at the end.

    A step is one call of both branches, or a call each.
    """
    network = getattr(pipeline, model.family.denoiser)
    calls = []

    def keep(module, arguments, named, output):
        x = arguments[0] if arguments else named[model.family.latent]
        calls.append((x.clone(), output[0].clone()))

    hook = network.register_forward_hook(keep, with_kwargs=True)
    told = model.family.told(pipeline, conditions(model)) | {"num_inference_steps": steps}
    told |= model.family.told_scale(GUIDANCE)
    if model.takes_prompts:
        told |= {"latents": latents, "output_type": "latent"}
    try:
        end = pipeline(**told, generator=torch.Generator().manual_seed(0))[0]
    finally:
        hook.remove()
    each = len(calls) // steps
    parts = [list(zip(x.split(2), output.split(2), strict=True)) for x, output in calls]
    return [sum(parts[index : index + each], []) for index in range(0, len(calls), each)], end


def branches_of(model):
    """In the order in which the pipeline has them."""
    cond = model.embed(conditions(model))
    if model.family.name in WITHOUT_NULL:
        return [cond]
    return [cond, model.embed_null()] if model.family.name in CONDITION_FIRST else [model.embed_null(), cond]


def probe_of(model, steps):
    texts = conditions(model)
    items = Items(["a", "b"], texts, ["a", "b"], [0, 1], model.takes_prompts)
    return Probe(model, items, Context(Protocol(steps=steps, guidance=GUIDANCE, seeds=1, noise="per-item")))


def test_predictions_are_what_the_pipelines_loop_sees(model, pipeline):
    probe = probe_of(model, STEPS)
    steps, _ = seen_by(pipeline, model, STEPS, probe.trajectory().state(0))
    sign = -1 if model.family.negated else 1
    for index in (0, STEPS // 2, STEPS - 1):
        t = model.schedule.timesteps(STEPS)[index]
        for (x, output), branch in zip(steps[index], branches_of(model), strict=True):
            found = model.predict(x, t, branch)
            torch.testing.assert_close(sign * found, output[:, : found.shape[1]], rtol=1e-6, atol=1e-6)


def test_the_trajectory_ends_where_the_pipelines_sampler_ends(model, pipeline):
    if not model.takes_prompts:
        pytest.skip("the pipeline takes no starting latents")
    probe = probe_of(model, STEPS)
    start = probe.trajectory().state(0)
    _, end = seen_by(pipeline, model, STEPS, start)
    torch.testing.assert_close(probe.trajectory().clean().float(), end.float(), rtol=1e-4, atol=1e-4)


def replayed(work):
    """A CUDA graph on the CPU: what is recorded once is done again on the same memory."""
    output = torch.full_like(work(), torch.nan)
    return (lambda: output.copy_(work())), output


@torch.no_grad()
def test_a_recorded_network_answers_at_all_times(model):
    fast = accelerate(model, "cuda-graphs", replayed)
    x, cond = probe_of(model, STEPS).noise, model.embed(conditions(model))
    for t in model.schedule.timesteps(STEPS):
        torch.testing.assert_close(fast.predict(x, t, cond), model.predict(x, t, cond), rtol=1e-9, atol=1e-9)


def test_the_certificate_is_passed(model):
    found = certify(model)
    assert found.passed, str(found)


def test_decoding_is_the_autoencoders(model):
    x0 = probe_of(model, STEPS).noise
    if model.family.name in VIDEOS:
        with pytest.raises(NotApplicableError, match="videos, which are no images"):
            model.decode(x0)
        return
    image = model.decode(x0)
    assert image.shape[:2] == (2, 3)
    assert image.shape[2] == image.shape[3] >= 8
    assert 0 <= image.min() < image.max() <= 1


def test_a_prediction_is_the_same_whatever_else_is_in_the_batch(model):
    texts = [*conditions(model), "a plain dress and a bag" if model.takes_prompts else "999"]
    x, t = probe_of(model, STEPS).noise[:1], model.schedule.timesteps(STEPS)[1]
    alone, others = model.embed(texts[:1]), model.embed(texts).rows(slice(1))
    torch.testing.assert_close(model.predict(x, t, alone), model.predict(x, t, others), rtol=1e-6, atol=1e-8)


def test_what_a_unet_computes_on_the_way(model):
    texts, probe = conditions(model), probe_of(model, STEPS)
    x, t, cond = probe.noise, model.schedule.timesteps(STEPS)[0], model.embed(conditions(model))
    if model.family.name != "sdxl":
        for ask in (model.bottleneck, *([] if model.family.name in ATTENDING else [model.attention])):
            with pytest.raises(NotApplicableError):
                ask(x, t, cond)
        with pytest.raises(NotApplicableError):
            model.end_positions(texts)
        return
    output, layers = model.attention(x, t, cond)
    torch.testing.assert_close(output, model.predict(x, t, cond))
    assert {layer.weights.shape[3] for layer in layers} == {cond.tensors["encoder_hidden_states"].shape[1]}
    for layer in layers:
        torch.testing.assert_close(layer.weights.sum(dim=3), torch.ones(layer.weights.shape[:3]), rtol=1e-5, atol=0)
    activation = model.bottleneck(x, t, cond)[1]
    assert activation.shape[:2] == (2, model._network.config.block_out_channels[-1])
    assert model.end_positions(texts).tolist() == [3, 4]  # start, words, end
    assert model.are_cut([*texts, "a " * 100]) == [False, False, True]


def test_a_prompt_is_cut_where_its_last_word_changes_nothing(model):
    if not model.takes_prompts:
        assert model.are_cut(["0", "1"]) == [False, False]
        return
    letters = model.family.name == "qwen-image"  # whose tokenizer here has a token a letter
    word = "a" if letters else "a "
    most = next(n for n in range(1, 1_100) if model.are_cut([word * n]) == [True])
    for before, is_cut in ((most - 2, False), (most - 1, True)):
        endings = [word * before + last for last in ("b" if letters else "plain", "c" if letters else "coat")]
        assert model.are_cut(endings) == [is_cut, is_cut]
        one, other = (model.embed([text]) for text in endings)
        assert all(torch.equal(one[name], other[name]) for name in one) == is_cut


def test_a_prompt_may_be_a_number(model):
    if not model.takes_prompts:
        return
    alone, beside = model.embed(["7"]), model.embed(["7", "plain coat"])
    x, t = probe_of(model, STEPS).noise[:1], model.schedule.timesteps(STEPS)[1]
    torch.testing.assert_close(
        model.predict(x, t, alone), model.predict(x, t, beside.rows(slice(1))), rtol=1e-6, atol=1e-8
    )


def test_classes_beyond_the_last_are_no_conditions(model):
    if model.takes_prompts:
        return
    for wrong in ("1000", "-1", "tench"):
        with pytest.raises(UserError, match=f"no condition '{wrong}'; it knows the classes 0 to 999"):
            model.embed(["3", wrong])


def test_a_null_branch_that_is_lacking_is_said(model):
    if model.family.name not in WITHOUT_NULL:
        assert model.embed_null().size == 1
        return
    with pytest.raises(NotApplicableError, match="has no null branch"):
        model.embed_null()


DETECTORS = (
    "wen2024@t=500",
    "jeon2025@t=500",
    "hessian-trace@t=500,probes=2",
    "curvature-gap@t=500,probes=2,backend=jvp",
)


def score_of(model, output, x, t):
    """``-eps / sigma`` of a network's answer, from its definition alone."""
    alpha, sigma = model.schedule.alpha(t), model.schedule.sigma(t)
    eps = {"eps": output, "v": alpha * output + sigma * x, "flow": x + (1 - sigma) * output}[model.prediction_type]
    return -eps / sigma


def directly(model, probe, detector):
    """A detector's score by ``torch.func``, with nothing of memdet but the network, the place and the probe vectors."""
    x, t = probe.at(500)
    cond, sigma = model.embed(conditions(model)), model.schedule.sigma(t)
    vectors = probe.directions(2)
    if detector.startswith("hessian-trace"):
        products = [
            torch.func.jvp(lambda z: score_of(model, model.predict(z, t, cond), z, t), (x,), (v,))[1] for v in vectors
        ]
        return -sum((v * product).flatten(1).sum(1) for v, product in zip(vectors, products, strict=True)) / 2

    def difference(z):
        return model.predict(z, t, cond) - model.predict(z, t, model.embed_null())

    def product(v):
        return -torch.func.jvp(difference, (x,), (v,))[1] / sigma

    if detector.startswith("wen2024"):
        return difference(x).flatten(1).norm(dim=1)
    if detector.startswith("jeon2025"):
        return product(-difference(x) / sigma).flatten(1).square().sum(dim=1)
    return (sum(product(v).flatten(1).square().sum(dim=1) for v in vectors) / 2).sqrt()


@pytest.mark.parametrize("name", DETECTORS)
def test_detectors_are_their_formulas(model, name):
    detector = make_detector(name, detector_classes())
    if model.family.name in WITHOUT_NULL and not name.startswith("hessian-trace"):
        with pytest.raises(NotApplicableError, match="has no null branch"):
            detector.score(probe_of(model, STEPS))
        return
    found = detector.score(probe_of(model, STEPS))
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        expected = directly(model, probe_of(model, STEPS), name)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=0)


def page_lines():
    return (Path(__file__).resolve().parents[3] / "docs" / "models.md").read_text().splitlines()


def test_the_page_says_what_works(model):
    line = family_table.row(model.family.name, model.family.pipelines, model)
    assert line in page_lines(), "python -m tests.helpers.family_table"


@pytest.mark.parametrize("name", OTHERS)
def test_the_page_says_what_works_with_others(name, tmp_path):
    assert family_table.row_of(name, save(name, tmp_path)) in page_lines()


def test_the_page_has_no_other_lines():
    found = [line.split("|")[1].strip() for line in page_lines() if line.startswith("|")]
    assert found == ["family", "---", *family_table.names()]


def test_every_family_is_in_one_file_and_tested():
    assert {family.name for family in families() if family.pipelines} == set(FAMILIES)


FLOWS_NOT_FOLLOWED = {
    "num_train_timesteps 500": {"num_train_timesteps": 500},
    "invert_sigmas": {"invert_sigmas": True},
    "predicts 'epsilon'": {
        "_class_name": "DPMSolverMultistepScheduler",
        "use_flow_sigmas": True,
        "prediction_type": "epsilon",
    },
    "use_flow_sigmas": {"_class_name": "SASolverScheduler", "use_flow_sigmas": True},
}


@pytest.mark.parametrize("part", FLOWS_NOT_FOLLOWED)
def test_a_flow_that_cannot_be_followed_is_refused(part, tmp_path):
    directory = save("sd3", tmp_path)
    path = directory / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | FLOWS_NOT_FOLLOWED[part]))
    with pytest.raises(UserError, match=part):
        load_model(directory)


def test_a_pipeline_on_no_list_is_refused_though_it_looks_like_another(random_pipeline, tmp_path):
    shutil.copytree(random_pipeline, tmp_path / "copy")
    path = tmp_path / "copy" / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "RectifiedFlowPipeline"}))
    with pytest.raises(UserError, match="a RectifiedFlowPipeline, which memdet does not read; it reads "):
        load_model(tmp_path / "copy")


@pytest.mark.parametrize("name", sorted(name for family in families() for name in family.refused))
def test_pipelines_that_look_alike_are_refused_by_name(name, tmp_path):
    import diffusers

    assert hasattr(diffusers, name)
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": name}))
    with pytest.raises(UserError, match=f"a {name}: it"):
        load_model(tmp_path)


def test_the_vectors_of_a_learned_token_count(model):
    if model.family.name != "sdxl":
        return
    first, second = model._readings
    assert first.tokenizer is not second.tokenizer
    first.tokenizer.add_tokens(["<coat>", "<coat>_1", "<coat>_2"])
    room = first.limit - 2
    prompts = ["<coat>" + " a" * (room - 3), "<coat>" + " a" * (room - 2)]
    assert first.cuts(prompts) == [False, True]
    assert model.are_cut(prompts) == [False, False]  # the second tokenizer, which knows no such token, reads them whole
