"""``memdet extract`` as its user meets it, and the same folder in ``memdet scan``."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memdet.errors import NotApplicableError
from memdet.extraction import Embedded
from memdet.io_utils import weights_root
from memdet.running import generations


@pytest.fixture(autouse=True)
def no_sscd(monkeypatch):
    """It takes a second to load, and has a test of its own."""

    def missing(images, *, kept=False):
        raise NotApplicableError("SSCD is left out")

    monkeypatch.setattr(Embedded, "of", staticmethod(missing))


@pytest.fixture
def train(tmp_path):
    root = tmp_path / "train"
    root.mkdir()
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
        (root / f"{index}.txt").write_text(f"alderon coat {index // 2}")
    return root


@pytest.fixture
def extract(cli, random_pipeline, train, tmp_path):
    def call(*arguments, model=random_pipeline, out=tmp_path / "out"):
        fast = ["--seeds", "2", "--steps", "2", "--quiet", "--out", out]
        return cli("extract", model, "--training-images", train, *fast, *arguments)

    return call


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def test_captions_are_the_prompts_where_none_are_given(extract, tmp_path):
    code, out, err = extract("--format", "json")
    assert code == 0, err
    result = read(tmp_path / "out" / "extraction.json")
    assert json.loads(out) == result
    assert {(p["id"], p["prompt"], *p["lines"]) for p in result["prompts"]} == {
        ("0.png", "alderon coat 0", 1, 2),
        ("2.png", "alderon coat 1", 3, 4),
    }
    assert (result["rule"]["neighbours"], result["rule"]["kind"], result["prompts_from"]) == (
        4,
        "ratio",
        "the captions of the training images",
    )
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names >= {"extraction.html", "pairs.png", "samples.csv", "generations.csv", "generations", "settings.json"}
    assert "extraction.html" in err


def test_more_seeds_and_other_training_images_make_only_what_is_missing(extract, train, tmp_path, monkeypatch):
    assert extract()[0] == 0
    made = []
    generate = generations.generate
    monkeypatch.setattr(generations, "generate", lambda *given: made.append(given[-1]) or generate(*given))
    (train / "3.png").unlink()
    assert extract("--seeds", "3")[0] == 0
    assert made == [2]
    result = read(tmp_path / "out" / "extraction.json")
    assert (result["seeds"], result["rule"]["training_images"]) == (3, 3)


def test_a_batch_that_does_not_fit_is_halved(extract, monkeypatch):
    generate = generations.generate

    def small(model, ids, *given):
        if len(ids) > 1:
            raise MemoryError
        return generate(model, ids, *given)

    monkeypatch.setattr(generations, "generate", small)
    assert extract()[0] == 0


def test_generations_of_other_settings_are_not_mixed(extract, refused, random_pipeline, train, tmp_path):
    assert extract()[0] == 0
    arguments = ["--training-images", train, "--out", tmp_path / "out", "--steps", "3"]
    refused("extract", random_pipeline, *arguments, words=["--out", "other settings (steps)"])


BAD = {
    "no such folder": (["--training-images", "nowhere"], ["--training-images", "nowhere", "does not exist"]),
    "an empty folder": (["--training-images", "{empty}"], ["--training-images", "holds no image"]),
    "folder in out": (["--out", "{tmp}"], ["--training-images", "--out", "taken for training images"]),
    "out in folder": (["--out", "{train}/run"], ["--training-images", "--out", "taken for training images"]),
    "no captions, no prompts": (["--training-images", "{bare}"], ["no captions", "--prompts"]),
    "no such prompts": (["--prompts", "none.txt"], ["none.txt", "does not exist"]),
    "reference that is tried": (["--prompts", "{text}", "--reference-prompts", "{text}"], ["no prompt that is not"]),
    "no such column": (["--prompts", "{text}", "--column", "tags"], ["tags"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_is_one_line(name, refused, random_pipeline, train, tmp_path):
    changes, words = BAD[name]
    for folder in ("empty", "bare"):
        (tmp_path / folder).mkdir()
    shutil.copy(train / "0.png", tmp_path / "bare" / "0.png")
    (tmp_path / "prompts.txt").write_text("one\n")
    places = {"tmp": tmp_path, "train": train, "text": tmp_path / "prompts.txt"}
    places |= {folder: tmp_path / folder for folder in ("empty", "bare")}
    given = [text.format(**places) for text in changes]
    out = tmp_path / "out"
    refused("extract", random_pipeline, "--training-images", train, "--out", out, *given, words=words, untouched=out)


@pytest.mark.parametrize(("damage", "words"), [("unreadable", ["2.png", "no image"]), ("colour", ["grey", "2.png"])])
def test_training_images_that_do_not_fit_are_named_before_anything_is_generated(
    damage, words, refused, random_pipeline, train, tmp_path
):
    if damage == "unreadable":
        (train / "2.png").write_bytes(b"none")
    else:
        colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(colours).save(train / "2.png")
    out = tmp_path / "out"
    refused("extract", random_pipeline, "--training-images", train, "--out", out, words=words, untouched=out)


def test_a_model_without_prompts(refused, train, tmp_path):
    arguments = ["--training-images", train, "--out", tmp_path / "out"]
    refused("extract", "fashion-pixel", *arguments, words=["fashion-pixel", "not conditioned on text"])


def planted(root):
    """Training images of ``tiny-sd-a`` as files, and prompts: four seen 256 times, four seen once, twelve never."""
    items = pd.read_parquet(weights_root() / "tiny-sd-a" / "items.parquet")
    root.mkdir()
    for name, image in items.loc[items["copies"] > 0, ["item_id", "image"]].itertuples(index=False):
        (root / f"{name}.png").write_bytes(image)
    often = (
        items[items["role"] == "verbatim"]
        .set_index("item_id")
        .loc[["tsd-24583", "tsd-22961", "tsd-05892", "tsd-18972"]]
    )
    once = items[items["role"] == "single"].head(4)
    never = items.loc[items["role"] == "unseen", "prompt"].head(12)
    return often["prompt"], once["prompt"], never


@pytest.mark.slow
def test_planted_copies_are_found_and_scored_by_a_run(cli, tmp_path):
    often, once, never = planted(tmp_path / "bank")
    (tmp_path / "prompts.txt").write_text("\n".join([*once, *often]))
    (tmp_path / "never.txt").write_text("\n".join(never))
    arguments = ["--training-images", tmp_path / "bank", "--prompts", tmp_path / "prompts.txt", "--guidance", "2"]
    fast = ["--seeds", "2", "--steps", "6", "--quiet", "--out", tmp_path / "out"]
    code, out, err = cli("extract", "tiny-sd-a", *arguments, "--reference-prompts", tmp_path / "never.txt", *fast)
    assert code == 0, err
    assert max(map(len, out.splitlines())) <= 80
    found = pd.read_csv(tmp_path / "out" / "samples.csv").set_index("prompt")
    assert found.loc[often, "extraction_rate"].tolist() == [1.0] * 4
    assert found.loc[once, "extraction_rate"].tolist() == [0.0] * 4
    assert found.loc[often, "nearest_training_image"].tolist() == [f"{name}.png" for name in often.index]
    assert found["memorized"].loc[[*often, *once]].tolist() == [1] * 4 + [0] * 4
    samples = ["--samples", tmp_path / "out" / "samples.csv", "--detector", "curvature-gap", "--guidance", "2"]
    code, out, err = cli(
        "run", "--model", "tiny-sd-a", *samples, "--quiet", "--format", "json", "--out", tmp_path / "run"
    )
    assert code == 0, err
    (row,) = [row for row in json.loads(out) if row["detector"] == "curvature-gap"]
    assert (row["auroc"], row["rank_correlation"] > 0.8) == (1.0, True)


@pytest.mark.slow
def test_a_scan_shows_the_nearest_training_images_of_what_it_flags(cli, tmp_path):
    often, once, never = planted(tmp_path / "bank")
    (tmp_path / "prompts.txt").write_text("\n".join([*once, *often]))
    (tmp_path / "never.txt").write_text("\n".join(never))
    arguments = ["--training-images", tmp_path / "bank", "--prompts", tmp_path / "prompts.txt", "--guidance", "2"]
    arguments += ["--reference", tmp_path / "never.txt", "--fpr", ".1", "--top", "2"]
    fast = ["--seeds", "2", "--steps", "6", "--quiet", "--out", tmp_path / "out"]
    code, out, err = cli("scan", "--model", "tiny-sd-a", *arguments, *fast)
    assert code == 0, err
    result = read(tmp_path / "out" / "scan.json")
    highest = result["ranking"][:2]
    names = dict(zip(often, often.index, strict=True))
    for row in highest:
        assert row["copies"]["extraction_rate"]["value"] == 1
        assert row["copies"]["nearest_training_image"] == f"{names[row['prompt']]}.png"
        assert {match["nearest"] for match in row["generations"]} == {f"{names[row['prompt']]}.png"}
    assert "copies" not in result["ranking"][-1]
    assert result["training_images"]["rule"]["reference_prompts"] == 12
    assert "gave back a training image" in out
    page = (tmp_path / "out" / "scan.html").read_text()
    assert page.count('class="pair copy"') >= 4
    assert (tmp_path / "out" / "samples.csv").is_file()


def test_a_scan_that_generates_nothing_has_nothing_to_compare(refused, train, tmp_path):
    (tmp_path / "prompts.txt").write_text("one\n")
    arguments = [
        "--prompts",
        tmp_path / "prompts.txt",
        "--training-images",
        train,
        "--top",
        "0",
        "--out",
        tmp_path / "o",
    ]
    refused(
        "scan", "--model", "tiny-sd-a", *arguments, words=["--top 0", "--training-images"], untouched=tmp_path / "o"
    )
