"""``memdet reproduce published``, and the whole way: spec, prompts, model of the hub, scores, published figures."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from memdet.published.figures import published_figures
from memdet.results import Run
from studies.published import plan
from studies.published.plan import Asked, planned
from tests.cli.conftest import cli, refused
from tests.helpers.runs import write_run
from tests.helpers.stand_in_hub import Repository, hub, server

__all__ = ["cli", "hub", "refused", "server"]  # fixtures

FILES = Path(__file__).resolve().parents[3] / "shared" / "data" / "prompts"
COMMAND = ["reproduce", "published"]
MODEL = "CompVis/stable-diffusion-v1-4"
LABELS = np.repeat([1, 0], 500)
ITEMS = 12


@pytest.fixture
def run(tmp_path):
    scores = {"jeon2025": 1.0 * LABELS, "random": np.zeros(1000)}
    about = {"sample_set": "jeon-sd1", "model": MODEL, "steps": 50, "guidance": 7.5}
    return write_run(tmp_path / "run", scores, LABELS, access={"random": "none"}, **about)


@pytest.mark.slow
@pytest.mark.skipif(not FILES.is_dir(), reason=f"the published prompt files are not in {FILES}")
def test_a_published_set_from_its_spec_to_its_figures(cli, hub, random_pipeline, tmp_path, monkeypatch):
    """A random model under the name of Stable Diffusion, on a part of the prompts, for which figures are made up."""
    monkeypatch.chdir(tmp_path)
    hub.repositories[MODEL] = Repository({"main": random_pipeline})
    paper = next(one for one in published_figures() if (one.detector, one.generations) == ("wen2024", 1))
    few = paper.model_copy(update={"n_memorized": ITEMS, "n_other": ITEMS})
    half = few.model_copy(update={"value": 0.5, "paper": "chance"})
    monkeypatch.setattr("memdet.published.against.published_figures", lambda: (paper, few, half))
    arguments = ["--only", "jeon-sd1", "--seeds", "1", "-d", "wen2024", "--items", ITEMS, "--device", "cpu", "-q"]
    arguments += ["--files", FILES, "--format", "json"]
    code, out, err = cli(*COMMAND, *arguments)
    assert code == 0, err
    assert "model_index.json" in hub.fetched
    rows = json.loads(out)
    prompts = f"published for 500 memorized prompts and 500 not, here {ITEMS} and {ITEMS}"
    assert [row["differs"] for row in rows] == [prompts, "", ""]
    measured = {row["measured"] for row in rows[1:]}
    assert len(measured) == 1
    low, high = rows[1]["measured_low"], rows[1]["measured_high"]
    assert [row["agrees"] for row in rows] == [None, *(low - 5e-4 <= value <= high + 5e-4 for value in (0.976, 0.5))]
    target = tmp_path / "runs" / f"published-jeon-sd1-n1-items{ITEMS}"
    run = Run.load(target)
    entry = run.manifest.sample_set("jeon-sd1")
    assert (entry.model, entry.steps, entry.guidance, entry.seeds) == (MODEL, 50, 7.5, 1)
    lines = (FILES / "jeon_sd1_mem.txt").read_text(encoding="utf-8").split("\n")
    assert run.sources["jeon-sd1"].condition["memorized-00001"] == lines[0]
    assert json.loads(cli("report", target, "--against-published", "--format", "json")[1]) == rows
    written = (target / "run.json").read_bytes()
    assert cli(*COMMAND, *arguments)[1] == out  # nothing is left to do
    assert (target / "run.json").read_bytes() == written


def test_a_run_that_is_there_is_compared(cli, run):
    code, out, err = cli(*COMMAND, "--from", run)
    assert (code, err) == (0, "")
    assert "0 of 2 published figures lie within the interval. Outside, measured minus published: AUROC" in out


def test_the_cost_is_said_before_anything_is_loaded(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("studies.published.plan.planned", lambda figures, detectors, asked: f"cost for {asked.gpu}")
    monkeypatch.setitem(sys.modules, "memdet.running", None)
    code, out, err = cli(*COMMAND, "--plan", "--gpu", "l4")
    assert (code, out) == (0, "cost for l4\n"), err
    assert list(tmp_path.iterdir()) == []


def test_a_run_says_its_cost_first_and_beside_what_it_prints(cli, monkeypatch, tmp_path):
    monkeypatch.setattr("studies.published.plan.planned", lambda figures, detectors, asked: f"cost of {asked.seeds}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    code, out, err = cli(*COMMAND, "--files", tmp_path, "--offline", "--device", "cpu", "--out", tmp_path / "out")
    assert (code, out) == (2, "")
    cost, refusal = err.splitlines()
    assert cost == "cost of 4"
    assert "--offline fetches nothing" in refusal
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_plan_counts_prompts_seeds_and_evaluations(monkeypatch):
    from memdet.detectors import detector_classes, make_detector

    monkeypatch.setitem(plan._CONFIGS, "stable-diffusion-v1-4", "tiny-sd-a")
    figures = [one for one in published_figures() if one.sample_set == "jeon-sd1"]
    detectors = [make_detector("wen2024@steps=50", detector_classes())]
    text = planned(figures, detectors, Asked(4, None, "a100", "float16", 1.0))
    assert "jeon-sd1 on stable-diffusion-v1-4. 1,000 prompts x 4 noise seeds with 1 detector on one NVIDIA A100" in text
    assert "100 F" in text
    assert "24 prompts" in planned(figures, detectors, Asked(4, 12, "a100", "float16", 1.0))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "jeon-sd3"], ["--only 'jeon-sd3'", "jeon-sd1, jeon-sd2"]),
        (["--seeds", "3"], ["--seeds 3", "1, 4, 16"]),
        (["--from", "x", "--plan"], ["--from compares a run that is there"]),
        (["--from", "nowhere"], ["nowhere"]),
        (["-d", "wenn2024"], ["wen2024"]),
        (["--plan", "--gpu", "tpu"], ["tpu", "h100"]),
        (["--batch-size", "many"], ["--batch-size 'many'"]),
    ],
)
def test_bad_input(arguments, words, refused, tmp_path):
    refused(*COMMAND, "--out", tmp_path / "out", *arguments, words=words, untouched=tmp_path / "out")
