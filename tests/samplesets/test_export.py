"""Sample sets as others read them: mlcroissant, and the readers of the Hugging Face hub."""

import json

import mlcroissant
import numpy as np
import pytest
import yaml
from huggingface_hub import DatasetCard

from memdet.errors import UserError
from memdet.samplesets import load_sample_set, load_samples_file, load_spec, sample_set_ids
from memdet.samplesets.export import CROISSANT, export_files


@pytest.fixture
def export(tmp_path):
    def write(name):
        for file, data in export_files(load_sample_set(name)).items():
            (tmp_path / file).write_bytes(data)
        return tmp_path

    return write


SHIPPED = [name for name in sample_set_ids() if load_spec(name).source.kind in {"bundled", "zoo"}]


@pytest.mark.parametrize("name", SHIPPED)
def test_mlcroissant_finds_nothing_to_say(name, export):
    directory = export(name)
    dataset = mlcroissant.Dataset(directory / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    assert not dataset.metadata.ctx.issues.warnings
    assert dataset.metadata.ctx.conforms_to.value == CROISSANT
    spec = load_sample_set(name).spec
    assert dataset.metadata.version == f"{spec.version}.0.0"
    assert dataset.metadata.license == ["https://spdx.org/licenses/MIT.html"]
    assert dataset.metadata.date_published.isoformat()[:10] == spec.published
    assert dataset.metadata.data_limitations == spec.known_problems


@pytest.mark.parametrize("name", ["tiny-sd-swap", "mixture-2d"])
def test_records_are_the_items(name, export):
    items = load_sample_set(name).items
    dataset = mlcroissant.Dataset(export(name) / "croissant.json")
    assert {record_set.id for record_set in dataset.metadata.record_sets} == set(items["split"])
    for split, expected in items.groupby("split"):
        records = list(dataset.records(split))
        for field, column in (("item_id", "item_id"), ("cluster", "cluster"), ("stratum", "stratum")):
            assert [record[f"{split}/{field}"].decode() for record in records] == expected[column].tolist()
        condition = "prompt" if name == "tiny-sd-swap" else "condition"
        assert [record[f"{split}/{condition}"].decode() for record in records] == expected["condition"].tolist()
        assert [record[f"{split}/memorized"] for record in records] == expected["label"].tolist()
        if name == "tiny-sd-swap":
            assert [record[f"{split}/extraction"] for record in records] == expected["extraction"].tolist()
            assert [record[f"{split}/model"].decode() for record in records] == expected["model"].tolist()


def test_images_are_those_of_the_sample_set(export):
    expected = load_sample_set("fashion-pixel-generated").items
    dataset = mlcroissant.Dataset(export("fashion-pixel-generated") / "croissant.json")
    images = [np.asarray(record["test/image"]) for record in dataset.records("test")]
    pixels = [(image[0] + 1) * 127.5 for image in expected.loc[expected["split"] == "test", "image"]]
    np.testing.assert_allclose(images, pixels, atol=1e-4)


@pytest.mark.parametrize(("name", "splits"), [("tiny-sd-a-narrow", ["test", "dev"]), ("mixture-2d", ["test"])])
def test_card_is_read_by_the_hub_client(name, splits, export):
    directory = export(name)
    sample_set = load_sample_set(name)
    card = DatasetCard.load(directory / "README.md")
    assert card.data.license == "mit"
    assert card.data.configs[0]["data_files"] == [{"split": s, "path": f"{s}.parquet"} for s in splits]
    assert all((directory / file["path"]).is_file() for file in card.data.configs[0]["data_files"])
    for text in (sample_set.content_hash, sample_set.spec.citation, *sample_set.spec.known_problems):
        assert text in card.text


def test_hub_readers_load_the_directory(export, tmp_path_factory, monkeypatch):
    import datasets

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    directory = export("fashion-pixel-generated")
    loaded = datasets.load_dataset(str(directory), cache_dir=str(tmp_path_factory.mktemp("cache")))
    items = load_sample_set("fashion-pixel-generated").items
    assert {split: len(rows) for split, rows in loaded.items()} == dict(items["split"].value_counts())
    assert isinstance(loaded["test"].features["image"], datasets.Image)
    assert loaded["test"][0]["image"].size == (16, 16)


def test_a_samples_file_has_nothing_to_describe(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"p{label}", "memorized": label}) + "\n" for label in (0, 1)))
    with pytest.raises(UserError, match="no spec"):
        export_files(load_samples_file(path, model="tiny-sd-a"))


def test_a_licence_without_a_short_name_stays_text(tmp_path):
    from memdet.samplesets import specs_directory

    spec = yaml.safe_load((specs_directory() / "mixture-2d.yaml").read_text())
    source = {"kind": "local", "path": str(specs_directory() / "data" / "mixture-2d.csv")}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec | {"licence": "research only", "source": source}))
    files = export_files(load_sample_set(tmp_path / "spec.yaml"))
    assert json.loads(files["croissant.json"])["license"] == "research only"
    assert DatasetCard(files["README.md"].decode()).data.license == "other"


AWKWARD = [
    'a "quoted" prompt, with commas | pipes & 100 %',
    "two\nlines and a\ttab",
    "ünïcode 記憶 😀",
    "None",
    "NaN",
    "1e-05",
    "  spaces around  ",
    "\\ {braces} $x$ #1 ~z^2 _under_ <b>&amp;</b>",
]


@pytest.mark.slow
def test_awkward_prompts_come_back_from_every_reader(tmp_path, tmp_path_factory, monkeypatch):
    import datasets
    import pandas as pd

    from memdet.samplesets import specs_directory

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = pd.DataFrame({"id": [f"i|{k}" for k in range(8)], "prompt": AWKWARD, "label": [k % 2 for k in range(8)]})
    rows["share"] = [k / 7 for k in range(8)]
    rows["family"] = [f"f {k // 2}" for k in range(8)]
    rows["part"] = ["test"] * 6 + ["dev"] * 2
    rows.to_parquet(tmp_path / "items.parquet")
    spec = yaml.safe_load((specs_directory() / "tiny-sd-swap.yaml").read_text())
    spec |= {"id": "awkward", "source": {"kind": "local", "path": "items.parquet"}, "blind_controls": {}}
    spec |= {"known_problems": ['a: "b" # c', "d | e"], "citation": "A & B: *Title* 100 %. {2026}"}
    label = {"column": "label", "positive": [1], "negative": [0]}
    columns = {"id": "id", "prompt": "prompt", "label": label, "cluster": "family", "split": "part"}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec | {"columns": columns | {"extraction": "share"}}))
    sample_set = load_sample_set(tmp_path / "spec.yaml")
    directory = tmp_path / "out"
    directory.mkdir()
    for file, data in export_files(sample_set).items():
        (directory / file).write_bytes(data)
    names = {"item_id": "item_id", "prompt": "condition", "memorized": "label", "cluster": "cluster"}
    names |= {"stratum": "stratum", "extraction": "extraction"}
    croissant = mlcroissant.Dataset(directory / "croissant.json")
    assert not croissant.metadata.ctx.issues.errors
    loaded = datasets.load_dataset(str(directory), cache_dir=str(tmp_path_factory.mktemp("cache")))
    for split, items in sample_set.items.groupby("split"):
        frame = pd.read_parquet(directory / f"{split}.parquet")
        records = list(croissant.records(split))
        for name, column in names.items():
            expected = items[column].tolist()
            assert frame[name].tolist() == expected
            assert list(loaded[split][name]) == expected
            found = [record[f"{split}/{name}"] for record in records]
            assert [value.decode() if isinstance(value, bytes) else value for value in found] == expected
    card = DatasetCard.load(directory / "README.md")
    assert card.data.pretty_name == "awkward v1"
    assert all(text in card.text for text in (*spec["known_problems"], spec["citation"]))
    assert croissant.metadata.data_limitations == spec["known_problems"]
