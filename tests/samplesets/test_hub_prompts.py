"""Data sets of a stand-in hub as files of prompts: which files are fetched, which splits there are, and refusals."""

from __future__ import annotations

import json
import re

import pandas as pd
import pytest
from huggingface_hub import constants

from memdet.errors import UserError
from memdet.samplesets import Fetcher, load_prompt_pair, load_samples_file, read_prompts
from tests.helpers.stand_in_hub import Repository

OFFLINE = Fetcher(offline=True)
TRAIN, TEST = ["a plain coat", "a red dress"], ["a soft bag"]
CARD = """---
configs:
- config_name: {first}
  data_files:
  - split: train
    path: "first/*.csv"
  sep: ";"
- config_name: second
  data_files:
  - split: held
    path: "second.csv"
---
"""


@pytest.fixture
def repository(hub, tmp_path, monkeypatch):
    """A data set of two splits, with what a repository holds beside."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "memdet-cache"))
    folder = tmp_path / "repository"
    (folder / "data").mkdir(parents=True)
    for name, prompts in (("train", TRAIN), ("test", TEST)):
        frame = pd.DataFrame({"image": [b"x"] * len(prompts), "caption": prompts, "memorized": [1, 0][: len(prompts)]})
        frame.to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    (folder / "name.py").write_text("raise SystemExit('code of a stranger')")
    (folder / "README.md").write_text("# a data set\n")
    (folder / "model.bin").write_text("large")
    hub.repositories["datasets/owner/name"] = Repository({"main": folder})
    return folder


def leave(monkeypatch):
    """No hub answers from now on."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def texts(reference, **options):
    return [prompt.text for prompt in read_prompts(reference, **options).prompts]


def refusal(reference, **options):
    with pytest.raises(UserError) as caught:
        read_prompts(reference, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_split_is_read_by_every_command_and_fetched_alone(repository, hub, capsys):
    assert texts("owner/name:train") == TRAIN
    assert capsys.readouterr().err == ""
    assert hub.fetched == ["README.md", "data/train-00000-of-00001.parquet"]
    items = load_samples_file("owner/name:train", model="m")
    assert items.items["condition"].tolist() == TRAIN
    assert items.items["label"].tolist() == [1, 0]
    assert items.id == "name-train"
    pair = load_prompt_pair(*map(type(repository), ("owner/name:train", "owner/name@main:test")))
    assert pair.items["condition"].tolist() == TRAIN + TEST
    assert read_prompts("owner/name:train").not_read == ("image", "memorized")


def test_the_checksum_is_of_what_is_read(repository, hub, tmp_path):
    before = load_samples_file("owner/name:train", model="m").content_hash
    path = repository / "data" / "train-00000-of-00001.parquet"
    frame = pd.read_parquet(path)
    other = tmp_path / "other"
    (other / "data").mkdir(parents=True)
    for prompts, same in ((TRAIN, True), (["another", TRAIN[1]], False)):
        frame.assign(caption=prompts, image=[b"y"] * 2).to_parquet(other / "data" / "train.parquet")
        hub.repositories["datasets/owner/copy"] = Repository({"main": other})
        assert (load_samples_file("owner/copy:train", model="m").content_hash == before) is same
        hub.repositories["datasets/owner/copy"].revisions.clear()
        other = other.rename(tmp_path / f"older-{same}")


def test_offline_takes_the_cache_alone(repository, hub, monkeypatch):
    message = refusal("owner/name:train", fetcher=OFFLINE)
    assert "owner/name is no local file and not in the hub's cache, and `offline` fetches nothing" in message
    texts("owner/name:train")
    leave(monkeypatch)
    assert texts("owner/name:train", fetcher=OFFLINE) == TRAIN
    assert "the hub's cache lacks data/test-00000-of-00001.parquet" in refusal("owner/name:test", fetcher=OFFLINE)
    assert "it has the splits train, test" in refusal("owner/name", fetcher=OFFLINE)
    assert "owner/other is no local file, and the hub did not give its list of files" in refusal("owner/other")


def test_a_hub_that_does_not_answer_gives_what_was_fetched_and_that_is_said(repository, monkeypatch, capsys):
    texts("owner/name:train")
    capsys.readouterr()
    leave(monkeypatch)
    assert texts("owner/name:train") == TRAIN
    assert "memdet: owner/name: the hub does not answer (" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("owner/name", "it has the splits train, test; write owner/name:train"),
        ("owner/name:valid", "it has the splits train, test; write owner/name:train"),
        ("owner/name:other:train", "it has configurations default; write owner/name:NAME:SPLIT"),
        ("owner/name@never:train", "has no revision never of it"),
        ("owner/none", "owner/none is no local file, and the hub has no such repository, or a private one"),
    ],
)
def test_refusals_say_what_there_is(reference, words, repository):
    assert words in refusal(reference)


def test_a_column_is_named_as_in_a_file(repository):
    assert "owner/name:train: column 'title' is missing" in refusal("owner/name:train", column="title")
    assert "row 1: the prompt is empty or not text" in refusal("owner/name:train", column="image")


def test_local_files_go_before_the_hub(repository, hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner" / "name.txt").write_text("mine\n")
    assert texts("owner/name.txt") == ["mine"]
    assert "owner/none.csv does not exist; check the path" in refusal("owner/none.csv")
    (tmp_path / "owner" / "name").mkdir()
    assert "is a directory; name a file in it" in refusal("owner/name")
    assert "owner/name is a local directory, which goes before a data set of the hub" in refusal("owner/name:train")
    assert not hub.fetched


def test_a_card_says_configurations_and_how_files_are_written(repository, hub):
    (repository / "first").mkdir()
    (repository / "first" / "one.csv").write_text("prompt;n\none, two;1\n")
    (repository / "second.csv").write_text("text\nthree\nfour\n")
    (repository / "README.md").write_text(CARD.format(first="first"))
    assert texts("owner/name:second:held") == ["three", "four"]
    assert "it has configurations first, second; write owner/name:NAME:SPLIT" in refusal("owner/name:train")
    hub.fetched.clear()
    assert texts("owner/name:first:train") == ["one, two"]
    assert hub.fetched == ["first/one.csv"]


def test_of_a_card_with_a_default_that_is_taken(repository):
    (repository / "first").mkdir()
    (repository / "first" / "one.csv").write_text("prompt;n\none, two;1\n")
    (repository / "second.csv").write_text("text\nthree\n")
    (repository / "README.md").write_text(CARD.format(first="default"))
    assert texts("owner/name") == ["one, two"]


def test_files_outside_the_repository_are_never_read(repository, tmp_path):
    (tmp_path / "secret.csv").write_text("prompt\nsecret\n")
    card = CARD.format(first="default").replace("first/*.csv", str(tmp_path / "secret.csv"))
    (repository / "README.md").write_text(card.replace('"second.csv"', f'"{tmp_path / "secret.csv"}"'))
    assert re.search("names .*secret.csv, which is not in the repository|cannot be read", refusal("owner/name"))


def test_what_is_no_table_is_refused(repository):
    for path in (repository / "data").iterdir():
        path.unlink()
    assert "owner/name: the files of the data set cannot be read (" in refusal("owner/name")
    (repository / "data" / "train-00000-of-00001.parquet").write_bytes(b"no parquet")
    assert "owner/name: the files of the data set cannot be read (" in refusal("owner/name")
    (repository / "data" / "train-00000-of-00001.parquet").unlink()
    (repository / "data" / "one.png").write_bytes(b"no picture")
    assert "memdet reads tables, and its files are of the kind 'imagefolder'" in refusal("owner/name")


def test_a_gated_data_set_says_where_its_terms_are(repository, hub):
    hub.repositories["datasets/owner/name"].status = 403
    hub.repositories["datasets/owner/name"].code = "GatedRepo"
    assert f"accept its terms: {hub.address}/datasets/owner/name; then log in" in refusal("owner/name:train")


def test_no_file_of_prompts_is_taken_for_a_data_set(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(["a"]))
    assert texts(tmp_path / "mine.json") == ["a"]
