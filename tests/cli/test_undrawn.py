"""Pictures that could not be computed: said by the command, its page, its files and its exit code, and never drawn."""

import json

import pytest

from memdet.models.diffusers.stable_diffusion import StableDiffusionModel
from memdet.results.images import UNDRAWN, read_images


@pytest.fixture
def prompts(tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_text("alderon plain coat\nbirkwell soft dress\n", encoding="utf-8")
    return path


@pytest.fixture
def failing(monkeypatch):
    """Makes a decoder fail for the first picture of every batch."""
    decode = StableDiffusionModel.decode

    def fail(self, x0):
        images = decode(self, x0)
        images[0, 0, 0, 0] = float("nan")
        return images

    def start():
        monkeypatch.setattr(StableDiffusionModel, "decode", fail)
        return lambda: monkeypatch.setattr(StableDiffusionModel, "decode", decode)

    return start


def scan(cli, model, prompts, out, *arguments):
    fast = ["--seeds", "2", "--steps", "2", "--top", "2", "--quiet", "--batch-size", "2"]
    return cli("scan", "--model", model, "--prompts", prompts, "--out", out, *fast, *arguments)


@pytest.mark.slow
def test_a_scan_in_float16_draws_what_float32_draws(cli, random_pipeline, prompts, tmp_path):
    """The autoencoder says force_upcast."""
    assert json.loads((random_pipeline / "vae" / "config.json").read_text())["force_upcast"]
    code, out, _ = scan(cli, random_pipeline, prompts, tmp_path / "half", "--dtype", "float16")
    assert code == 0
    assert "could not be drawn" not in out
    assert len(list((tmp_path / "half" / "generations").iterdir())) == 4


@pytest.mark.slow
def test_a_scan_says_what_it_could_not_draw(cli, random_pipeline, prompts, failing, tmp_path):
    mend = failing()
    run = tmp_path / "run"
    code, out, _ = scan(cli, random_pipeline, prompts, run)
    assert code == 1
    assert "2 pictures could not be drawn" in out
    rows = json.loads((run / "scan.json").read_text())["ranking"]
    files = [generation["file"] for row in rows for generation in row["generations"]]
    assert files.count(None) == 2
    assert sorted(path.name for path in (run / "generations").iterdir()) == sorted(
        file.partition("/")[2] for file in files if file
    )
    page = (run / "scan.html").read_text()
    assert page.count("data:image/webp") == 2
    assert page.count("could not be drawn: its pixels are not finite numbers") == 2
    said = [
        text for of_set in json.loads((run / "run.json").read_text())["messages"].values() for text in of_set.items()
    ]
    assert ("generations", ["2 pictures could not be drawn: pixels are not finite numbers"]) in said
    mend()
    assert scan(cli, random_pipeline, prompts, run)[0] == 0
    assert "could not be drawn" not in (run / "scan.html").read_text() + (run / "run.json").read_text()


@pytest.mark.slow
def test_the_page_of_a_run_says_it_too(cli, random_pipeline, failing, tmp_path):
    samples = tmp_path / "samples.jsonl"
    lines = [{"prompt": f"alderon coat {n}", "memorized": n % 2} for n in range(2)]
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = tmp_path / "run"
    arguments = ["--model", random_pipeline, "--samples", samples, "--detector", "wen2024@steps=1", "--seeds", "1"]
    assert cli("run", *arguments, "--quiet", "--out", run)[0] == 0
    mend = failing()
    report = ["report", run, "--format", "html", "--images", "1", "--quiet", "--out", tmp_path / "page.html"]
    code, _, err = cli(*report)
    assert code == 1
    assert "1 picture could not be drawn" in err
    assert sorted(image == UNDRAWN for image in read_images(run).values()) == [False, True]
    page = (tmp_path / "page.html").read_text()
    assert '"generated":[null]' in page
    mend()
    assert cli(*report)[0] == 0
    assert UNDRAWN not in read_images(run).values()
