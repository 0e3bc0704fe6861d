"""``memdet scan`` as its user meets it."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from tqdm import tqdm

from memdet.extraction import Embedded, training_images
from memdet.io_utils import write_bytes
from memdet.results.store import read_scores
from memdet.running import generations, scoring
from memdet.samplesets import load_sample_set


@pytest.fixture
def lines(tmp_path):
    def write(name, texts):
        path = tmp_path / name
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def prompts(lines):
    return lines("prompts.txt", ["alderon plain coat", "birkwell soft dress", "alderon plain coat", "cresta heavy bag"])


@pytest.fixture
def reference(lines):
    return lines("reference.txt", [f"galdor muted coat {i}" for i in range(9)] + ["birkwell soft dress"])


@pytest.fixture
def scan(cli, random_pipeline, prompts, tmp_path):
    """Scan the random pipeline, fast."""

    def call(*arguments, model=random_pipeline, file=prompts, out=tmp_path / "run"):
        fast = ["--seeds", "2", "--steps", "3", "--quiet", "--out", out]
        return cli("scan", "--model", model, "--prompts", file, *fast, *arguments)

    return call


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_scan_writes_what_it_prints(scan, reference, tmp_path):
    code, out, err = scan("--reference", reference, "--fpr", "0.1", "--top", "1", "--format", "json")
    assert code == 0, err
    result = read(tmp_path / "run" / "scan.json")
    assert json.loads(out) == result
    assert {name for row in result["ranking"] for name in [row["prompt"]]} == {
        "alderon plain coat",
        "birkwell soft dress",
        "cresta heavy bag",
    }
    assert next(row for row in result["ranking"] if row["prompt"].startswith("alderon"))["lines"] == [1, 3]
    assert (result["reference"]["used"], result["reference"]["scanned_too"]) == (9, 1)
    assert (result["threshold"]["fpr"], result["seeds"]) == (0.1, 2)
    assert "scan.html" in err
    page = (tmp_path / "run" / "scan.html").read_text(encoding="utf-8")
    assert all(row["prompt"] in page for row in result["ranking"])
    assert "memoriz" not in (page + out + err).lower()
    assert page.count("data:image/webp;base64,") == sum(len(row["generations"]) for row in result["ranking"]) > 0


def test_a_quiet_scan_shows_no_bar(scan, prompts, lines, tmp_path, monkeypatch):
    """Not even on a terminal: those of the generations, of the reference too, and of the training images."""
    found = []

    def bar(*given, **named):
        found.append(named["disable"])
        return tqdm(*given, **named)

    for module in (generations, training_images):
        monkeypatch.setattr(module, "tqdm", bar)
    monkeypatch.setattr(Embedded, "add", lambda self, images: setattr(self, "_missing", "left out"))
    (tmp_path / "train").mkdir()
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "train" / f"{index}.png")
    few = lines("few.txt", ["alderon plain coat", "birkwell soft dress"])
    arguments = ["--training-images", tmp_path / "train", "--reference", prompts, "--top", "1"]
    assert scan(*arguments, file=few)[0] == 0
    assert found == [True, True, True]


@pytest.mark.slow
def test_scores_are_those_of_a_run(scan, cli, random_pipeline, lines, tmp_path):
    """The same prompts, seeds and detector through ``memdet run`` give the same numbers."""
    texts = ["alderon plain coat", "birkwell soft dress", "cresta heavy bag"]
    labelled = lines("set.jsonl", [json.dumps({"prompt": t, "memorized": i % 2}) for i, t in enumerate(texts)])
    arguments = ["--detector", "curvature-gap", "--seeds", "2", "--quiet", "--out", tmp_path / "other"]
    assert cli("run", "--model", random_pipeline, "--samples", labelled, *arguments)[0] == 0
    table = read_scores(tmp_path / "other").to_pandas()
    expected = table[table["detector"] == "curvature-gap"].groupby("item_id")["score"].mean().to_numpy()
    assert scan("--top", "0", "--steps", "50")[0] == 0
    found = {row["prompt"]: row["score"] for row in read(tmp_path / "run" / "scan.json")["ranking"]}
    assert [found[text] for text in texts] == pytest.approx(expected, rel=1e-4)


def test_generations_are_those_of_the_pipeline(scan, random_pipeline, tmp_path):
    from diffusers import DDIMScheduler, StableDiffusionPipeline

    assert scan("--top", "1")[0] == 0
    row = read(tmp_path / "run" / "scan.json")["ranking"][0]
    pipeline = StableDiffusionPipeline.from_pretrained(random_pipeline, safety_checker=None)
    pipeline.scheduler = DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    assert [generation["seed"] for generation in row["generations"]] == [0, 1]
    for generation in row["generations"]:
        noise = torch.Generator("cpu").manual_seed(generation["seed"])
        wanted = pipeline(row["prompt"], num_inference_steps=3, guidance_scale=7.5, generator=noise, output_type="np")
        with Image.open(tmp_path / "run" / generation["file"]) as image:
            stored = np.asarray(image.convert("RGB"), dtype=np.float64) / 255
        assert np.abs(stored - wanted.images[0]).max() < 0.01


@pytest.mark.slow
def test_an_interrupted_scan_is_taken_up_where_it_stopped(scan, tmp_path, monkeypatch):
    calls, last = [], 3

    def write(path, content):
        calls.append(path.name)
        if len(calls) == last:
            raise KeyboardInterrupt
        write_bytes(path, content)

    monkeypatch.setattr(generations, "write_bytes", write)
    assert scan("--top", "2")[0] == 130
    assert not (tmp_path / "run" / "scan.json").exists()
    last = None
    monkeypatch.setattr(scoring, "score_items", lambda *_: pytest.fail("scored again"))
    calls.clear()
    assert scan("--top", "2")[0] == 0
    assert len(calls) == 2
    assert sorted(path.suffix for path in (tmp_path / "run" / "generations").iterdir()) == [".png"] * 4


@pytest.mark.slow
def test_another_rate_scores_nothing_again_but_other_prompts_need_another_directory(
    scan, reference, lines, tmp_path, monkeypatch
):
    arguments = ["--reference", reference, "--top", "0"]
    assert scan(*arguments)[0] == 0
    assert "not resolvable" in scan(*arguments)[1]
    monkeypatch.setattr(scoring, "score_items", lambda *_: pytest.fail("scored again"))
    assert "Threshold" in scan(*arguments, "--fpr", "0.2")[1]
    before = (tmp_path / "run" / "scan.json").read_bytes()
    code, _, err = scan(*arguments, file=lines("other.txt", ["another"]))
    assert (code, "other settings" in err) == (2, True)
    assert (tmp_path / "run" / "scan.json").read_bytes() == before


def test_one_prompt(scan, lines):
    code, out, _ = scan("--top", "2", file=lines("one.txt", ["alderon plain coat"]))
    assert code == 0
    assert "1 prompt by curvature-gap" in out


def test_prompts_that_the_model_reads_in_part(scan, lines):
    code, out, _ = scan("--top", "0", file=lines("long.txt", ["word " * 5_000, "short"]))
    assert code == 0
    assert "1 prompt is longer than the model reads" in out


def test_control_characters_reach_no_terminal(scan, lines):
    code, out, err = scan("--top", "0", file=lines("nasty.txt", ["\x1b[2J\x1b]0;owned\x07", "plain"]))
    assert code == 0
    assert "\x1b" not in out + err
    assert "\\x1b[2J" in out


def test_a_detector_that_the_model_cannot_serve(scan):
    code, out, err = scan("--detector", "nearest-neighbour")
    assert (code, out) == (2, "")
    last = err.splitlines()[-1]
    assert last.startswith("memdet: nearest-neighbour is not applicable")
    assert "training images" in last


def test_prompts_without_a_score_give_exit_code_1(scan, tmp_path):
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        "import torch\nfrom memdet import Detector, DetectorInfo\n"
        "class Shy(Detector):\n"
        "    info = DetectorInfo(name='shy', title='', access='score', cost='none')\n"
        "    def score(self, probe):\n"
        "        return torch.tensor([float('nan') if 'bag' in p else 1.0 for p in probe.prompts])\n"
    )
    code, out, _ = scan("--plugin", plugin, "--detector", "shy", "--top", "0")
    assert code == 1
    assert "1 prompt is without a score, at the end of the list (1 scores are not finite)." in out


def test_report_of_a_scan_points_to_its_page(scan, refused, tmp_path):
    assert scan("--top", "0")[0] == 0
    refused("report", tmp_path / "run", words=["scan.html", "no labels"])


BAD = {
    "no such prompts": (["--prompts", "none.txt"], ["none.txt", "does not exist"]),
    "no such reference": (["--reference", "none.txt"], ["none.txt", "does not exist"]),
    "empty prompts": (["--prompts", "/dev/null"], ["/dev/null"]),
    "no such model": (["--model", "./nowhere"], ["nowhere"]),
    "model of classes": (["--model", "fashion-pixel"], ["fashion-pixel", "text"]),
    "closed form": (["--model", "mixture-2d"], ["mixture-2d", "text"]),
    "rate of one": (["--fpr", "1"], ["--fpr"]),
    "rate in percent": (["--fpr", "5"], ["--fpr", ".01"]),
    "too many steps": (["--steps", "5000"], ["steps", "1000"]),
    "unknown detector": (["--detector", "curvature-gab"], ["curvature-gap"]),
    "control": (["--detector", "prompt-length"], ["control"]),
    "random control": (["--detector", "random"], ["control"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments(name, refused, prompts, tmp_path):
    changes, words = BAD[name]
    out = tmp_path / "run"
    refused("scan", "--model", "tiny-sd-a", "--prompts", prompts, "--out", out, *changes, words=words, untouched=out)


@pytest.mark.parametrize("damage", ["pickle", "truncated", "no unet"])
def test_damaged_model(damage, refused, copy_of_pipeline, prompts, tmp_path):
    model, out = copy_of_pipeline(), tmp_path / "run"
    weights = next((model / "unet").glob("*.safetensors"))
    if damage == "pickle":
        weights.rename(weights.with_suffix(".bin"))
    elif damage == "truncated":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        shutil.rmtree(model / "unet")
    refused("scan", "--model", model, "--prompts", prompts, "--out", out, words=["unet"], untouched=out)


def test_reference_that_is_scanned_whole(refused, prompts, tmp_path):
    arguments = ["--prompts", prompts, "--reference", prompts, "--out", tmp_path / "run"]
    refused("scan", "--model", "tiny-sd-a", *arguments, words=["no prompt that is not"], untouched=tmp_path / "run")


@pytest.mark.slow
def test_planted_prompts_lead_and_the_rate_of_the_others_is_as_stated(cli, lines, tmp_path):
    """The reference is dev captions that the model saw once; the prompts are all test captions."""
    items = load_sample_set("tiny-sd-a-verbatim").items
    test = items[items["split"] == "test"]
    file = lines("prompts.txt", test["condition"])
    reference = lines("reference.txt", items.loc[(items["split"] == "dev") & (items["label"] == 0), "condition"])
    arguments = ["--prompts", file, "--reference", reference, "--fpr", "0.05", "--guidance", "2", "--top", "0"]
    code, _, _ = cli("scan", "--model", "tiny-sd-a", *arguments, "--quiet", "--out", tmp_path / "run")
    assert code == 0
    result = read(tmp_path / "run" / "scan.json")
    labels = dict(zip(test["condition"], test["label"], strict=True))
    ranked = [labels[row["prompt"]] for row in result["ranking"]]
    assert ranked[:40] == [1] * 40
    above = result["threshold"]["above"]
    assert sum(ranked[:above]) > 0.9 * sum(ranked)
    realised = (above - sum(ranked[:above])) / ranked.count(0)
    assert result["threshold"]["fpr_low"] <= realised <= result["threshold"]["fpr_high"]
