"""Sample sets and suites from their specs."""

import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from memdet.samplesets import fetch as sources
from memdet.samplesets import load_sample_set, load_spec, load_suite, sample_set_ids, specs_directory, suite_names

Fields = dict[str, Any]
Write = Callable[..., Path]
Refused = Callable[..., str]
CORE = ["item_id", "condition", "label", "cluster", "stratum", "split"]
COLUMNS = ["item_id", "condition", "model", "label", "cluster", "stratum", "split", "extraction", "image"]


def test_mixture_2d_is_what_its_spec_says():
    sample_set = load_sample_set("mixture-2d")
    items = sample_set.items
    assert list(items.columns) == COLUMNS
    assert items["item_id"].tolist() == [f"m2d-{index:03d}" for index in range(400)]
    assert items.groupby("condition")["label"].agg(["size", "sum"]).to_dict("index") == {
        "broad": {"size": 380, "sum": 0},
        "tight": {"size": 20, "sum": 20},
    }
    assert items["label"].iloc[:20].sum() < 10  # shuffled
    assert items["cluster"].tolist() == items["item_id"].tolist()
    assert set(items["stratum"]) == {"all"}
    assert set(items["split"]) == {"test"}
    assert set(items["model"]) == {"mixture-2d"}
    assert items["extraction"].isna().all()
    assert (sample_set.protocol.noise, sample_set.protocol.steps, sample_set.protocol.seeds) == ("per-item", 50, 2)
    assert (sample_set.model, sample_set.has_prompts) == ("mixture-2d", False)


@pytest.mark.parametrize("name", [name for name in sample_set_ids() if load_spec(name).source.kind == "bundled"])
def test_every_bundled_set_has_its_checksum(name: str):
    assert len(load_sample_set(name).items) > 1


def test_items_are_renamed_and_other_rows_left_out(spec: Fields, write: Write):
    spec["columns"] |= {"stratum": "kind", "cluster": "family", "split": "part"}
    sample_set = load_sample_set(write(spec))
    assert sample_set.items[CORE].values.tolist() == [
        ["b", "None", 1, "1", "x", "dev"],  # neither a missing value nor a number
        ["007", "two words", 1, "1", "x", "test"],
        ["a", "one", 0, "2", "y", "test"],
    ]
    assert sample_set.items["label"].dtype == "int64"
    assert sample_set.spec is not None
    assert (sample_set.id, sample_set.version, sample_set.title, sample_set.task, sample_set.model) == (
        "small",
        3,
        "A small set",
        "prompt",
        "some/model@abc",
    )
    assert (sample_set.protocol.guidance, sample_set.has_prompts) == (2.0, True)


def test_clusters_strata_and_split_have_defaults(spec: Fields, write: Write):
    items = load_sample_set(write(spec)).items
    assert items["cluster"].tolist() == items["item_id"].tolist() == ["b", "007", "a"]
    assert set(items["stratum"]) == {"all"}
    assert set(items["split"]) == {"test"}
    assert set(items["model"]) == {"some/model@abc"}
    assert items["extraction"].isna().all()


def test_model_and_measured_extraction_of_each_item(spec: Fields, write: Write):
    spec["columns"] |= {"model": "network", "extraction": "rate"}
    data = "name,text,role,network,rate\na,x,copied,one,0.75\nb,y,once,two,0\n"
    items = load_sample_set(write(spec, data)).items
    assert items["model"].tolist() == ["one", "two"]
    assert items["extraction"].tolist() == [0.75, 0.0]


@pytest.mark.parametrize("value", ["1.01", "-0.1", "often", "", "nan"])
def test_an_extraction_that_is_no_share(value: str, spec: Fields, write: Write, refused: Refused):
    spec["columns"]["extraction"] = "rate"
    path = write(spec, f"name,text,role,rate\na,x,copied,1\nb,y,once,{value}\n")
    refused(lambda: load_sample_set(path), "column 'rate' holds no share from 0 to 1", "row")


def test_a_condition_is_no_prompt(spec: Fields, write: Write):
    spec["columns"]["condition"] = spec["columns"].pop("prompt")
    assert not load_sample_set(str(write(spec))).has_prompts


FRAME = pd.DataFrame({"name": [1, 2, 3], "text": ["x", "y", "z"], "role": [1, 0, 2]})


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_the_three_formats_give_the_same_items(suffix: str, spec: Fields, write: Write):
    spec["source"]["path"] = f"items.{suffix}"
    spec["columns"]["label"] |= {"positive": [1], "negative": [0]}
    buffer = io.BytesIO()
    if suffix == "parquet":
        FRAME.to_parquet(buffer)
    elif suffix == "csv":
        FRAME.to_csv(buffer, index=False)
    else:
        FRAME.to_json(buffer, orient="records", lines=True)
    items = load_sample_set(write(spec, buffer.getvalue(), f"items.{suffix}")).items
    assert items[CORE].values.tolist() == [["1", "x", 1, "1", "all", "test"], ["2", "y", 0, "2", "all", "test"]]


def test_truth_values_label_items(spec: Fields, write: Write):
    spec["source"]["path"] = "items.jsonl"
    spec["columns"]["label"] |= {"positive": [True], "negative": [False]}
    rows = [{"name": "a", "text": "x", "role": True}, {"name": "b", "text": "y", "role": False}]
    data = "\n".join(json.dumps(row) for row in rows)
    assert load_sample_set(write(spec, data, "items.jsonl")).items["label"].tolist() == [1, 0]


def test_the_content_hash_follows_spec_and_data(spec: Fields, write: Write):
    def digest(data: str) -> str:
        return load_sample_set(write(spec, data)).content_hash

    data = "name,text,role\na,x,copied\nb,y,once\n"
    first = digest(data)
    assert len(first) == 64
    assert digest(data) == first
    changed = digest(data.replace("y", "z"))
    spec["protocol"]["steps"] = 11
    assert len({first, changed, digest(data)}) == 3
    spec["protocol"]["steps"] = 10
    spec["assets"][0].pop("mirrors")  # the default, written or not, is one spec
    assert digest(data) == first


def test_relative_paths_start_at_the_spec(spec: Fields, write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    spec["model"] = "./model"
    path = write(spec)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_sample_set("../small.yaml").model == str(tmp_path / "model") == load_sample_set(path).model


def test_planted_items_lie_beside_the_weights(
    spec: Fields, write: Write, refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(sources, "weights_root", lambda: tmp_path)
    roles = ["verbatim", "single", "narrow", "single", "verbatim"]
    frame = pd.DataFrame(
        {
            "item_id": [f"tsd-{index}" for index in range(5)],
            "prompt": [f"prompt {index}" for index in range(5)],
            "role": roles,
            "split": ["test", "test", "test", "dev", "dev"],
            "measured_role": [*roles[:4], "disagreement"],
            "extraction_rate": [1.0, 0.0, 0.0, 0.125, 0.375],
        }
    )
    spec = load_spec("tiny-sd-a-verbatim").model_dump(exclude_none=True)
    assert spec["blind_controls"] == dict.fromkeys(
        ["prompt-length", "prompt-case", "prompt-digits", "prompt-ngram"], 0.5
    )
    refused(lambda: load_sample_set(write(spec)), "small.yaml", "run `memdet zoo build tiny-sd-a`")
    (tmp_path / "tiny-sd-a").mkdir()
    frame.to_parquet(tmp_path / "tiny-sd-a" / "items.parquet")
    spec["source"]["sha256"] = hashlib.sha256((tmp_path / "tiny-sd-a" / "items.parquet").read_bytes()).hexdigest()
    items = load_sample_set(write(spec)).items
    assert items["stratum"].tolist() == ["verbatim", "single", "single"]
    assert items["label"].tolist() == [1, 0, 0]
    assert items["split"].tolist() == ["test", "test", "dev"]
    assert items["extraction"].tolist() == [1.0, 0.0, 0.125]


def test_an_unknown_id_is_answered_with_the_nearest(refused: Refused):
    refused(
        lambda: load_sample_set("mixture2d"), "'mixture2d'", str(specs_directory()), "mixture-2d", "memdet list sets"
    )
    refused(lambda: load_sample_set("zzzz"), "no id is near", "`memdet list sets`")


def test_a_missing_spec_file_is_named(refused: Refused, tmp_path: Path):
    for reference in ("none.yaml", "sub/none", tmp_path / "none"):
        refused(lambda reference=reference: load_sample_set(reference), str(reference), "does not exist; correct")
    refused(lambda: load_sample_set(tmp_path), str(tmp_path), "is a directory; name a file")


def test_a_wrong_checksum_shows_both(spec: Fields, write: Write, refused: Refused):
    spec["source"]["sha256"] = "0" * 64
    path = write(spec)
    found = hashlib.sha256((path.parent / "items.csv").read_bytes()).hexdigest()
    refused(
        lambda: load_sample_set(path), str(path), "items.csv", f"expects sha256 {'0' * 64}, found {found}", "restore"
    )


def test_a_missing_column_is_answered_with_the_nearest(spec: Fields, write: Write, refused: Refused):
    refused(
        lambda: load_sample_set(write(spec, "name,texts,role\na,x,copied\n")),
        "items.csv: column 'text' is missing; did you mean texts?",
        "Correct columns in the spec",
    )
    refused(lambda: load_sample_set(write(spec, "name,q,role\n")), "it has name, q, role.")
    spec["source"]["path"] = "items.jsonl"
    data = '{"name": "a", "text": "x", "role": "copied"}\n{"name": "b", "role": "once"}\n'
    refused(lambda: load_sample_set(write(spec, data, "items.jsonl")), "items.jsonl, line 2: column 'text' is missing")


BAD_DATA = {
    "name,text,role\na,x,copied\na,y,once\n": ("line 3: item id 'a' is also in line 2", "give each item its own id"),
    "name,text,role\na,x,copied\nb,y,copied\n": ("has only memorized items", "'copied': correct columns.label"),
    "name,text,role\na,x,once\n": ("has no memorized items", "'once': correct columns.label"),
    "name,text,role\na,x,neither\n": ("has no labelled items", "'neither': correct columns.label"),
    "name,text,role\n": ("has no labelled items", "holds nothing: correct columns.label"),
    "": ("column 'role' is missing", "it has none."),
    "name,text,role\na,,copied\nb,y,once\n": ("line 2: column 'text' is empty", "fill it or remove the row"),
    "name,text,role\na,x,copied\nb,y, z,once\n": ("line 3: 4 fields where the header has 3", "in quotes"),
    "name,text,role\na,x,copied\n\nb,y,once\n": ("line 3: 0 fields", "in quotes"),
    'name,text,role\na,"x,copied\n': ("line 2: invalid CSV", "correct the line"),
    "name,text,role,text\na,x,copied,x\n": ("column 'text' is there twice", "rename one"),
}


@pytest.mark.parametrize("data", BAD_DATA)
def test_bad_data_are_located(data: str, spec: Fields, write: Write, refused: Refused):
    refused(lambda: load_sample_set(write(spec, data)), "items.csv", *BAD_DATA[data])


def test_empty_lines_at_the_end_of_csv_are_accepted(spec: Fields, write: Write):
    assert len(load_sample_set(write(spec, "name,text,role\na,x,copied\nb,y,once\n\n\n")).items) == 2


def test_both_classes_must_be_in_the_test_split(spec: Fields, write: Write, refused: Refused):
    spec["columns"]["split"] = "part"
    data = "name,text,role,part\na,x,copied,dev\nb,y,once,test\n"
    refused(lambda: load_sample_set(write(spec, data)), "items.csv has no memorized items to test", "columns.label")
    data = data.replace("dev", "train")
    refused(lambda: load_sample_set(write(spec, data)), "items.csv, line 2: split is 'train'; write dev or test")


def test_data_files_that_cannot_be_read_are_refused(spec: Fields, write: Write, refused: Refused):
    refused(lambda: load_sample_set(write(spec, None)), "items.csv does not exist; check the path")
    refused(
        lambda: load_sample_set(write(spec, b"name,text,role\na,caf\xe9,copied\n")),
        "items.csv, line 2: byte 20 of the file is not valid UTF-8",
    )
    spec["source"]["path"] = "items.xlsx"
    refused(
        lambda: load_sample_set(write(spec, "x", "items.xlsx")),
        "items.xlsx: unknown format '.xlsx'; convert it to one of .parquet, .csv, .jsonl",
    )
    spec["source"]["path"] = "items.parquet"
    refused(lambda: load_sample_set(write(spec, "x", "items.parquet")), "items.parquet is not a readable Parquet file")


def test_gaps_in_parquet_are_located(spec: Fields, write: Write, refused: Refused):
    spec["source"]["path"] = "items.parquet"
    spec["columns"]["cluster"] = "family"
    buffer = io.BytesIO()
    frame = pd.DataFrame({"name": ["a", "b"], "text": ["x", "y"], "role": ["copied", "once"], "family": [1.0, None]})
    frame.to_parquet(buffer)
    path = write(spec, buffer.getvalue(), "items.parquet")
    refused(lambda: load_sample_set(path), "items.parquet, row 2: column 'family' is empty")


def test_suites():
    assert "quick" in suite_names()
    for name in suite_names():
        suite = load_suite(name)
        assert suite.name == name
        assert set(suite.sample_sets) <= set(sample_set_ids())
    assert load_suite("quick").sample_sets == ["mixture-2d", "tiny-sd-a-verbatim"]
    assert load_suite("quick").seeds == 8


def test_an_unknown_suite_is_answered_with_the_nearest(refused: Refused):
    refused(lambda: load_suite("quikc"), "unknown suite 'quikc'", "did you mean quick?", "`memdet list suites`")


def test_a_mistake_in_a_suite_is_located(refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "mine.yaml").write_text("name: mine\ntitle: x\nsample_sets: [a]\ndetector: [b]\n")
    monkeypatch.setattr("memdet.samplesets.load.specs_directory", lambda: tmp_path)
    refused(lambda: load_suite("mine"), "mine.yaml, line 4: unknown field 'detector'", "did you mean detectors?")


def test_a_suite_of_detectors_has_all_items(refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "suites").mkdir()
    monkeypatch.setattr("memdet.samplesets.load.specs_directory", lambda: tmp_path)
    text = "name: mine\ntitle: x\nsample_sets: [a]\nitems: 3\n"
    (tmp_path / "suites" / "mine.yaml").write_text(f"{text}mitigations: [none]\n")
    assert load_suite("mine").items == 3
    (tmp_path / "suites" / "mine.yaml").write_text(f"{text}detectors: [wen2024]\n")
    refused(lambda: load_suite("mine"), "mine.yaml", "detectors are judged on all items of a set")


def test_specs_lie_in_the_package_or_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(sources.resources, "files", lambda name: tmp_path / name)
    assert specs_directory() == tmp_path / "datasets_spec"
    (tmp_path / "memdet" / "datasets_spec").mkdir(parents=True)
    assert specs_directory() == tmp_path / "memdet" / "datasets_spec"


def test_listing_loads_nothing_heavy():
    code = (
        "import sys; from memdet.samplesets import *; [load_spec(i) for i in sample_set_ids()]; load_suite('quick');"
        "print([m for m in ('torch', 'pandas', 'numpy', 'pyarrow', 'pooch', 'huggingface_hub') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def png(pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.array(pixels, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


def image_spec(spec: Fields) -> Fields:
    spec["task"], spec["source"]["path"] = "image", "items.parquet"
    spec["columns"]["image"] = "picture"
    return spec


def parquet(pictures: list[bytes]) -> bytes:
    frame = pd.DataFrame({"name": ["a", "b"], "text": ["x", "y"], "role": ["copied", "once"], "picture": pictures})
    buffer = io.BytesIO()
    frame.to_parquet(buffer)
    return buffer.getvalue()


def test_images_are_read_into_the_range_of_models(spec: Fields, write: Write):
    grey, colour = png([[0, 255]]), png([[[255, 0, 51]]])
    items = load_sample_set(write(image_spec(spec), parquet([grey, colour]), "items.parquet")).items
    assert items["image"][0].tolist() == [[[-1.0, 1.0]]]
    assert items["image"][1].tolist() == [[[1.0]], [[-1.0]], [[pytest.approx(-0.6)]]]
    assert items["image"][0].dtype == np.float32


def test_an_image_that_is_none(spec: Fields, write: Write, refused: Refused):
    path = write(image_spec(spec), parquet([png([[0]]), b"GIF"]), "items.parquet")
    refused(lambda: load_sample_set(path), "row 2", "column 'picture' holds no PNG image")


@pytest.mark.parametrize("task", ["image", "prompt"])
def test_the_task_image_and_its_column_go_together(task: str, spec: Fields, write: Write, refused: Refused):
    spec["task"] = task
    if task == "prompt":
        spec["columns"]["image"] = "picture"
    refused(lambda: load_sample_set(write(spec)), "the task image needs columns.image")
