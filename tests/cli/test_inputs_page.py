"""docs/inputs.md: its network is scored from the command line and from Python, and its refusals are memdet's."""

import json
import re
from pathlib import Path

import pytest

import memdet
from tests.helpers.source import ROOT

PAGE = (ROOT / "docs" / "inputs.md").read_text(encoding="utf-8")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"<!-- example: tests run this file -->\n```python\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    Path("own_model.py").write_text(code)
    prompts = ["a cat", "a dog on a mat", "an apple and a pear", "rain", "snow over hills", "sandy"]
    Path("prompts.txt").write_text("\n".join(prompts) + "\n")
    rows = [f"{prompt},{number % 2}" for number, prompt in enumerate(prompts)]
    Path("mine.csv").write_text("\n".join(["prompt,memorized", *rows]) + "\n")
    return tmp_path


@pytest.mark.slow
def test_the_network_of_the_page_is_scored_from_the_command_line_and_from_python(cli, here):
    detectors = ["wen2024", "hessian-trace"]
    arguments = ["--samples=mine.csv", "--steps=5", "--quiet", "--device=cpu", *(f"--detector={d}" for d in detectors)]
    code, _, err = cli("run", "--model=own_model.py:make_model", *arguments)
    assert code == 0, err
    found = memdet.load_run("runs/mine-own_model.py-make_model")
    stored = found.score_rows()
    items = memdet.SampleSet.from_file("mine.csv", model="own", steps=5)
    model = memdet.load_model("own_model.py:make_model")
    fresh = memdet.evaluate(detectors, items, model=model, progress=False).score_rows()
    assert found.manifest.settings.sample_sets[0].content_hash == items.content_hash
    for name in detectors:
        first, second = (rows[rows["detector"] == name]["score"].tolist() for rows in (stored, fresh))
        assert first == pytest.approx(second, rel=1e-5)
        assert len({score for score in first if score == score}) == 6
    arguments = [
        "--prompts=prompts.txt",
        "--steps=5",
        "--seeds=1",
        "--top=0",
        "--quiet",
        "--format=json",
        "--device=cpu",
    ]
    code, out, err = cli("scan", "--model=own_model.py:make_model", *arguments)
    assert code == 0, err
    assert len(json.loads(out)["ranking"]) == 6


def test_the_refusals_of_the_page_are_those_of_memdet(cli, here):
    shown = re.search(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    Path("mine.csv").write_text("prompt,label\na,1\nb,memorized\n")
    Path("captions.txt").write_text("a\nb\n")
    said = [cli("run", "--model=tiny-sd-a", f"--samples={name}")[2] for name in ("mine.csv", "captions.txt")]
    assert "".join(said) == shown
