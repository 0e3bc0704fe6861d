"""Files that are none, have no end, or stand for more than they weigh: refused before they are read, in one line."""

import json
import lzma
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memdet import given_files
from memdet.errors import UserError
from memdet.models.diffusers import compositions
from memdet.models.diffusers.compositions import COLUMNS, read_plan
from memdet.models.diffusers.directory import read_index
from memdet.models.diffusers.lora_folders import CARD_FILE, _base_of
from memdet.models.diffusers.training_images import read_training_images
from memdet.results import Run
from memdet.samplesets.prompt_table import Wanted, read_prompt_table
from memdet.samplesets.spec import SampleSetSpec
from memdet.samplesets.strict_yaml import read_yaml
from tests.helpers.runs import read_manifest, write_older, write_run

READERS = {
    "prompts.txt": lambda path: read_prompt_table(path, Wanted()),
    "prompts.csv": lambda path: read_prompt_table(path, Wanted()),
    "prompts.json": lambda path: read_prompt_table(path, Wanted()),
    "prompts.jsonl": lambda path: read_prompt_table(path, Wanted()),
    "prompts.parquet": lambda path: read_prompt_table(path, Wanted()),
    "spec.yaml": lambda path: read_yaml(path, SampleSetSpec),
    "config.json": given_files.read_json,
}


def refused(action, *words):
    with pytest.raises(UserError) as caught:
        action()
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, name):
    read = READERS[name]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / name).mkdir()
    refused(lambda: read(tmp_path / "folder" / name), name, "is a directory")
    os.mkfifo(tmp_path / name)
    refused(lambda: read(tmp_path / name), name, "is a pipe")
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    refused(lambda: read(tmp_path / name), name, "is a device")
    refused(lambda: read(tmp_path / f"absent-{name}"), "does not exist")


@pytest.mark.parametrize("name", READERS)
def test_a_file_that_is_too_large_is_not_read(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(2**40)  # takes no room
    refused(lambda: READERS[name](tmp_path / name), name, "1,099,511,627,776 bytes", given_files.NO_LIMITS)


def test_limits_can_be_lifted(tmp_path, monkeypatch):
    monkeypatch.setattr(given_files, "MOST_ROWS", 2)
    (tmp_path / "p.txt").write_text("a\nb\nc\n")
    refused(lambda: read_prompt_table(tmp_path / "p.txt", Wanted()), "3 rows", "no more than 2")
    monkeypatch.setenv(given_files.NO_LIMITS, "1")
    assert read_prompt_table(tmp_path / "p.txt", Wanted()).table.columns["prompt"] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["p.txt", "p.csv", "p.jsonl", "p.parquet"])
def test_rows_are_counted(tmp_path, monkeypatch, name):
    monkeypatch.setattr(given_files, "MOST_ROWS", 2)
    prompts, path = ["a", "b", "c"], tmp_path / name
    if name == "p.parquet":
        pq.write_table(pa.table({"prompt": prompts}), path)
    elif name == "p.jsonl":
        path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    else:
        path.write_text("\n".join([*["prompt"] * (name == "p.csv"), *prompts]))
    refused(lambda: read_prompt_table(path, Wanted()), name, "rows, and memdet reads no more than 2")


def test_a_text_that_many_rows_share_is_not_made_for_each(tmp_path, monkeypatch):
    """A file of kilobytes, whose rows come to 100 megabytes."""
    monkeypatch.setattr(given_files.require_bytes, "__defaults__", (50 * 10**6,))
    schema = pa.schema([("prompt", pa.string()), ("memorized", pa.int64())])
    rows = pa.table({"prompt": ["x" * 100_000] * 100, "memorized": np.zeros(100, np.int64)}, schema)
    with pq.ParquetWriter(tmp_path / "p.parquet", schema) as file:
        for _ in range(10):
            file.write_table(rows)
    assert (tmp_path / "p.parquet").stat().st_size < 10**6
    refused(lambda: read_prompt_table(tmp_path / "p.parquet", Wanted(labels=True)), "unpacks to more than 50,000,000")


def test_rows_of_a_stranger_s_run_are_not_made_for_each_either(tmp_path, monkeypatch):
    monkeypatch.setattr(given_files.require_bytes, "__defaults__", (10**6,))
    run = write_run(tmp_path / "run", {"good": np.arange(8.0)[:, None]}, [1, 0] * 4, seeds=(0,))
    scores = pq.read_table(run / "scores.parquet")
    longest = scores.set_column(scores.column_names.index("stratum"), "stratum", pa.array(["x" * 1_000_000] * 8))
    pq.write_table(longest, run / "scores.parquet", dictionary_pagesize_limit=10**9)
    assert (run / "scores.parquet").stat().st_size < 10**6
    write_older(run / "run.json", read_manifest(run))
    refused(lambda: Run.load(run), "scores.parquet unpacks to more than")


def test_a_folder_of_a_model_holds_files(tmp_path):
    (tmp_path / "unet").mkdir()
    (tmp_path / "model_index.json").write_text("{}")
    os.mkfifo(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    refused(lambda: read_index(tmp_path), "diffusion_pytorch_model.safetensors is a pipe")


@pytest.mark.parametrize("text", ["[" * 10_000, '{"a":' * 10_000])
def test_nested_json_of_a_model_is_refused(tmp_path, text):
    (tmp_path / "model_index.json").write_text(text)
    refused(lambda: read_index(tmp_path), "model_index.json is not valid JSON", "within each other")


def test_a_key_of_many_is_looked_for_once(tmp_path):
    """50,000 keys took half a minute when each was compared with all others."""
    keys = {f"k{number}": 1 for number in range(50_000)}
    (tmp_path / "p.json").write_text(json.dumps([keys | {"prompt": "a"}]))
    assert read_prompt_table(tmp_path / "p.json", Wanted()).table.columns["prompt"] == ["a"]


@pytest.mark.parametrize(
    "value",
    [
        "!!timestamp x",
        "!!int ''",
        "!!int x",
        "!!float ''",
        "!!float x",
        "!!bool x",
        "!!set 3",
        "2024-13-40",
        "!!omap x",
    ],
)
def test_yaml_that_its_own_tags_belie_is_refused(tmp_path, value):
    (tmp_path / "s.yaml").write_text(f"id: {value}\n")
    refused(lambda: read_yaml(tmp_path / "s.yaml", SampleSetSpec), "s.yaml", "invalid YAML")
    (tmp_path / CARD_FILE).write_text(f"---\nbase_model: {value}\n---\n")
    refused(lambda: _base_of(tmp_path / CARD_FILE), CARD_FILE, "is no YAML")


def test_packed_training_images_are_unpacked_to_a_limit(tmp_path, monkeypatch):
    (tmp_path / "training.json").write_text('{"complete": true, "files": ["a.npy.xz"]}')
    (tmp_path / "a.npy.xz").write_bytes(lzma.compress(bytes(10**6)))
    monkeypatch.setattr(given_files.read_at_most, "__defaults__", (10**5,))
    refused(lambda: read_training_images(tmp_path), "a.npy.xz unpacks to more than 100,000 bytes")


def test_pictures_of_a_plan_are_counted_before_they_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(compositions, "LARGEST_IMAGES", 10**6)
    packed = np.lib.format.magic(1, 0)
    header = f"{{'descr': '<i2', 'fortran_order': False, 'shape': (20000, {COLUMNS}), }}".ljust(117) + "\n"
    packed += len(header).to_bytes(2, "little") + header.encode() + bytes(2 * 20_000 * COLUMNS)
    (tmp_path / "a.plan.npy.xz").write_bytes(lzma.compress(packed, preset=0))
    refused(lambda: read_plan(tmp_path / "a.plan.npy.xz", tmp_path / "atlas"), "unpacks to more than 1,000,000")


def test_a_value_that_python_has_none_for_is_a_line(tmp_path):
    file = tmp_path / "rows.parquet"
    longest = pa.array([2**62], pa.int64()).cast(pa.duration("s"))
    pq.write_table(pa.table({"prompt": ["a"], "id": longest}), file)
    with pytest.raises(UserError, match=r"rows.parquet is not a readable Parquet file: column id: "):
        read_prompt_table(file, Wanted(optional=("id",)))
