"""The script that measures at the size of Stable Diffusion: on a tiny pipeline, and what is written of its record."""

import json
import math
from pathlib import Path

import pytest
import torch

from studies.sd_scale import command, measure

ROOT = Path(__file__).resolve().parents[2]
SCALE = ROOT / "results" / "scale"


@pytest.fixture
def script():
    return measure


@pytest.fixture
def found():
    return json.loads((SCALE / "record.json").read_text())


@pytest.mark.slow
def test_script_measures_a_run_and_leaves_nothing_behind(script, tmp_path, monkeypatch):
    shape, work, out = script.tiny(), tmp_path / "work", tmp_path / "out"
    work.mkdir()
    monkeypatch.setattr(command, "stable_diffusion", lambda: shape)
    command.command.main(["--work", str(work), "--out", str(out)], standalone_mode=False)
    assert list(work.iterdir()) == []
    found = json.loads((out / "record.json").read_text())
    assert (out / "log.txt").read_text() == script.log(found)
    counts = {row["detector"]: (row["F"], row["JVP"], row["VJP"]) for row in found["detectors"]}
    # the null branch at the shared noise is half a forward of each of the two items
    assert counts == {"wen2024": (1.5, 0, 0), "jeon2025": (1.5, 2, 0), "jeon2024-eigenvalues": (1, 0, 10)}
    assert found["loading_peak_bytes"] is None or found["loading_peak_bytes"] <= found["peak_bytes"]
    assert found["peak_bytes"] > sum(found["model"]["parameters"].values()) * 4
    assert 0 < found["loading_seconds"] < found["wall_seconds"]
    for row in found["detectors"]:
        first, second = row["scores"]
        assert math.isfinite(first)
        assert math.isfinite(second)
        assert first != second
        assert row["gflop_per_second"] * row["seconds_per_item"] == pytest.approx(row["tflop_per_item"] * 1e3)


@pytest.mark.slow
def test_its_pipeline_is_one_of_diffusers(script, tmp_path):
    from diffusers import StableDiffusionPipeline

    from memdet.models import load_model

    made = script.make_pipeline(script.tiny(), tmp_path / "model")
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path / "model")
    assert made["parameters"]["unet"] == sum(p.numel() for p in pipeline.unet.parameters())
    prompt = script.PROMPTS[0][0]
    tokens = pipeline.tokenizer(prompt, padding="max_length", max_length=77, return_tensors="pt").input_ids
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        hidden = pipeline.text_encoder(tokens).last_hidden_state
        expected = pipeline.unet(x, 981, hidden).sample
    model = load_model(tmp_path / "model")
    with torch.no_grad():
        torch.testing.assert_close(model.eps(x, 981, model.embed([prompt])), expected)
    assert 0.1 < float(expected.std()) < 10
    assert model.schedule.sigma(981) == pytest.approx(
        float((1 - pipeline.scheduler.alphas_cumprod[981]).sqrt()), rel=1e-6
    )
    assert tokens.shape == (1, 77)


def test_committed_record_is_of_stable_diffusion(script, found):
    assert found["measured"] is True
    assert found["model"]["parameters"]["unet"] == 859_520_964  # as published
    assert (found["model"]["latent"], found["model"]["tokens"]) == ([4, 64, 64], 77)
    assert found["command"] == "memdet " + " ".join(script.arguments(script.DETECTORS))
    assert [row["detector"] for row in found["detectors"]] == ["wen2024", "jeon2025", "jeon2024-eigenvalues"]
    for row in found["detectors"]:
        assert all(math.isfinite(score) for score in row["scores"])
        assert len(set(row["scores"])) == len(row["scores"])
    assert found["peak_bytes"] < 12e9
    assert (SCALE / "log.txt").read_text() == script.log(found)


def test_documentation_shows_the_committed_record(script, found):
    text = (ROOT / "docs" / "throughput.md").read_text()
    shown = text.split("<!-- table: memdet reproduce sd-scale --table -->\n")[1].split("<!-- end of table -->")[0]
    assert shown.strip() == script.table(found)


@pytest.mark.slow
def test_projection_in_the_record_is_that_of_the_plan(script, found):
    planned = script.project(script.stable_diffusion(), script.DETECTORS)
    assert planned["peak_bytes"] == {row["detector"]: row["projected_peak_bytes"] for row in found["detectors"]}
