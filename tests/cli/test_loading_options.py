"""Options that say which files make up a model: what belongs together, and that a run knows what it scored."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from memdet.results import Run

UNET = "unet/diffusion_pytorch_model.safetensors"


@pytest.fixture
def samples(tmp_path):
    rows = [{"prompt": "alderon <coat>", "memorized": 1}, {"prompt": "birkwell soft dress", "memorized": 0}]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "mine.jsonl"


@pytest.mark.parametrize("option", ["--lora", "--textual-inversion", "--base", "--revision", "--subfolder"])
def test_they_belong_to_a_model_of_one_s_own(refused, tmp_path, option):
    out = tmp_path / "run"
    arguments = ["run", "--suite", "quick", option, "x", "--out", out]
    refused(*arguments, words=[f"{option} belongs to --model and --samples"], untouched=out)


def test_messages_name_options(refused, copy_of_pipeline, samples, tmp_path):
    directory, out = copy_of_pipeline(), tmp_path / "run"
    save_file({"unet.a.lora_A.weight": torch.ones(1, 1)}, directory / "style.safetensors")
    arguments = ["run", "--model", directory, "--samples", samples, "--out", out]
    words = ["style.safetensors, a LoRA", "--lora style.safetensors puts it on, --lora none leaves it out"]
    refused(*arguments, words=words, untouched=out)
    refused(*arguments, "--lora", "none", "--lora", "x", words=["--lora has none beside a file"], untouched=out)
    (directory / "model_index.json").unlink()
    refused(*arguments, words=["of a fine-tune: give --base"], untouched=out)
    refused(*arguments, "--subfolder", "../x", words=["--subfolder is '../x'"], untouched=out)
    refused(*arguments, "--revision", "main", words=["--revision is for the hub"], untouched=out)


@pytest.mark.slow
def test_a_run_knows_what_it_scored(cli, refused, random_pipeline, random_model, samples, tmp_path):
    part, out = tmp_path / "checkpoint-500", tmp_path / "run"
    shutil.copytree(random_pipeline / "unet", part / "unet")
    weights = load_file(part / UNET)
    save_file({key: tensor * 1.2 for key, tensor in weights.items()}, part / UNET, metadata={"format": "pt"})
    width = random_model.embed([""]).tensors["encoder_hidden_states"].shape[-1]
    save_file({"<coat>": torch.randn(2, width)}, tmp_path / "coat.safetensors")
    words = ["run", "--samples", samples, "--detector", "wen2024", "--steps", 2, "--seeds", 1, "--quiet"]
    words += ["--device", "cpu", "--out", out]
    own = ["--model", part, "--base", random_pipeline, "--textual-inversion", tmp_path / "coat.safetensors"]
    code, _, err = cli(*words, *own)
    assert code == 0, err
    assert f"unet from {part / 'unet'}; everything else is the base's" in err
    entry = Run.load(out).manifest.settings.sample_sets[0]
    assert "1. textual inversion coat.safetensors, token of the file" in entry.model_files[str(part)]
    assert UNET in entry.model_files[str(part)]
    assert cli(*words, *own)[0] == 0
    page = ["--format", "html", "--images", 1, "--quiet", "--out", tmp_path / "page.html"]
    code, _, err = cli("report", out, *page)
    assert code == 0, err
    assert len(Run.load(out).images) == 2
    refused(*words, *own[:4], words=["its files changed"])
