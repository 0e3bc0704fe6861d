"""Images that are made after a run are those of the model that was scored, loaded in the same way."""

from __future__ import annotations

import json

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import save_file

from memdet.detectors import detector_classes, make_detectors
from memdet.errors import UserError
from memdet.io_utils import pixels_of_png
from memdet.models.load_options import LoadOptions
from memdet.results import Run
from memdet.results.images import key_of
from memdet.running import RunOptions, generations, run
from memdet.running.generations import generate, make_images
from memdet.samplesets import Fetcher, Protocol, load_samples_file
from tests.helpers.lora import needs_peft, write_lora
from tests.helpers.runs import write_older

PROTOCOL = {"noise": "shared", "steps": 2, "guidance": 3.0}


@pytest.fixture
def samples(tmp_path):
    rows = [{"prompt": "plain <coat>", "memorized": 1}, {"prompt": "soft dress", "memorized": 0}]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "mine.jsonl"


def token_of(path, model):
    """Two vectors for the token <coat>, large enough to be seen."""
    width = model.embed([""]).tensors["encoder_hidden_states"].shape[-1]
    save_file({"<coat>": 3 * torch.randn(2, width)}, path)
    return path


def scored(samples, model, out, options):
    """A run of a control alone, whose models are loaded and recorded all the same."""
    items = load_samples_file(samples, model=str(model), **PROTOCOL)
    return run([items], make_detectors(["random"], detector_classes()), out, options, progress=False)


@pytest.mark.slow
def test_a_run_says_how_its_model_is_loaded_again(random_pipeline, random_model, samples, tmp_path, monkeypatch):
    torch.manual_seed(0)
    token = token_of(tmp_path / "coat.safetensors", random_model)
    options = LoadOptions(textual_inversion=[f"{token}:<coat>"], prediction_type="v")
    name = str(random_pipeline)
    how = RunOptions(
        seeds=1, dtype=torch.float64, fetcher=Fetcher(offline=True), loading={name: options, "another": LoadOptions()}
    )
    scored(samples, random_pipeline, tmp_path / "run", how)
    found, loads, load = Run.load(tmp_path / "run"), [], generations.load_model

    def watched(reference, **told):
        loads.append((reference, told))
        return load(reference, **told)

    monkeypatch.setattr(generations, "load_model", watched)
    kept = make_images(tmp_path / "run", list(found.sources.values()), 1, progress=False)
    ((reference, told),) = loads
    assert (reference, told["options"], told["dtype"], told["device"]) == (name, options, torch.float64, "cpu")
    assert told["fetcher"].offline
    assert found.manifest.loading.keys() == {name}
    model = load(name, dtype=torch.float64, options=options)
    (source,) = found.sources.values()
    item, text = next(iter(source.condition.items()))
    protocol = Protocol(**PROTOCOL, seeds=1)
    assert kept[key_of(source, item, 0)] == generate(model, [item], [text], protocol, 0)[0]
    assert kept[key_of(source, item, 0)] != generate(load(name, dtype=torch.float64), [item], [text], protocol, 0)[0]


@needs_peft
@pytest.mark.slow
def test_images_of_a_run_with_a_lora_are_those_of_diffusers(random_pipeline, samples, tmp_path):
    lora = write_lora(random_pipeline, tmp_path / "pytorch_lora_weights.safetensors")
    how = RunOptions(seeds=1, loading={str(random_pipeline): LoadOptions(lora=str(lora))})
    scored(samples, random_pipeline, tmp_path / "run", how)
    (source,) = Run.load(tmp_path / "run").sources.values()
    kept = make_images(tmp_path / "run", [source], 1, progress=False)

    pipeline = StableDiffusionPipeline.from_pretrained(random_pipeline, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    plain, fused = {}, {}
    for images in (plain, fused):
        for item, prompt in source.condition.items():
            noise = torch.Generator("cpu").manual_seed(0)
            images[item] = pipeline(
                prompt, num_inference_steps=2, guidance_scale=3.0, generator=noise, output_type="np"
            ).images[0]
        pipeline.load_lora_weights(str(tmp_path), weight_name=lora.name)
        pipeline.fuse_lora()
    for item in source.condition:
        ours = pixels_of_png(kept[key_of(source, item, 0)]).astype(float) / 255
        theirs = fused[item].reshape(ours.shape)
        assert abs(ours - theirs).max() < 1.01 / 255
        assert abs(ours - plain[item].reshape(ours.shape)).max() > 0.05


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (LoadOptions(prediction_type="v"), "is another one than that of the run"),
        (
            LoadOptions(textual_inversion=["coat.safetensors"]),
            r"changed since the run \(1\. textual inversion coat.safetensors",
        ),
    ],
)
def test_a_run_that_says_nothing_of_its_options_gets_no_images_of_the_base(
    options, words, random_pipeline, random_model, samples, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    token_of(tmp_path / "coat.safetensors", random_model)
    how = RunOptions(seeds=1, loading={str(random_pipeline): options})
    scored(samples, random_pipeline, tmp_path / "run", how)
    path = tmp_path / "run" / "run.json"
    content = json.loads(path.read_text())
    del content["loading"]
    write_older(path, content)
    with pytest.raises(UserError, match=words):
        make_images(tmp_path / "run", Run.load(tmp_path / "run").sources.values(), 1, progress=False)


def test_a_plain_run_is_written_as_before(random_pipeline, samples, tmp_path):
    scored(samples, random_pipeline, tmp_path / "run", RunOptions(seeds=1))
    assert not {"loading", "offline"} & json.loads((tmp_path / "run" / "run.json").read_text()).keys()
