"""Runs and sample sets on the hub: what is uploaded, that it is read back, and that nothing else is."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard, constants, snapshot_download

import memdet
from memdet.errors import UserError
from memdet.samplesets import SampleSet, load_sample_set
from memdet.samplesets.items import image_of_png
from tests.helpers.runs import write_run
from tests.helpers.stand_in_hub import Repository

FRAME = pd.DataFrame(
    {
        "prompt": ["a cat", "a dog, red", 'a "bird"', "a fish"],
        "label": [1, 0, 1, 0],
        "cluster": ["c", "d", "c", "e"],
        "split": ["test", "test", "dev", "test"],
    }
)


@pytest.fixture
def mine():
    return SampleSet.from_pandas(FRAME, id="mine", model="org/model")


@pytest.fixture
def run(tmp_path):
    labels = [1] * 10 + [0] * 120
    scores = {"wen2024": np.arange(130.0)[::-1].copy(), "random": np.random.default_rng(0).random(130)}
    return memdet.load_run(write_run(tmp_path / "run", scores, labels, access={"random": "none"}))


def card_of(folder):
    return DatasetCard((folder / "README.md").read_text())


def refusal(push, *arguments, **options):
    with pytest.raises(UserError) as caught:
        push(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.slow
def test_a_set_of_ones_own_is_read_back(writer, mine):
    address = mine.push_to_hub("somebody/mine", licence="CC-BY-4.0")
    assert address == f"{writer.address}/datasets/somebody/mine"
    folder = writer.pushed / "mine"
    assert {path.name for path in folder.iterdir()} == {".gitattributes", "README.md", "test.parquet", "dev.parquet"}
    card = card_of(folder)
    assert card.data.license == "cc-by-4.0"
    assert [part["path"] for part in card.data.configs[0]["data_files"]] == ["test.parquet", "dev.parquet"]
    assert 'load_dataset("somebody/mine", split="test")' in card.text
    assert "memdet run --model MODEL --samples somebody/mine:test" in card.text
    back = SampleSet.from_file("somebody/mine:test", model="org/model")
    test = FRAME[FRAME["split"] == "test"]
    assert back.items["condition"].tolist() == test["prompt"].tolist()
    assert back.items["label"].tolist() == test["label"].tolist()
    assert back.items["cluster"].tolist() == test["cluster"].tolist()


def test_a_set_with_a_spec_says_its_licence_itself(writer):
    load_sample_set("mixture-2d").push_to_hub("somebody/mixture")
    folder = writer.pushed / "mixture"
    card = card_of(folder)
    assert (card.data.license, card.data.pretty_name) == ("mit", "mixture-2d v1")
    assert len(pq.read_table(folder / "test.parquet")) == 400
    assert "| `memorized` | 1 for memorized, 0 for not." in card.text
    assert "croissant.json" in {path.name for path in folder.iterdir()}
    assert "leave `licence` out" in refusal(load_sample_set("mixture-2d").push_to_hub, "somebody/m", licence="MIT")


def test_images_are_pictures(writer):
    image = np.linspace(-1, 1, 3 * 4 * 4, dtype=np.float32).reshape(3, 4, 4)
    frame = pd.DataFrame({"condition": ["0", "1"], "label": [1, 0], "image": [image, -image]})
    SampleSet.from_pandas(frame, id="pictures").push_to_hub("somebody/pictures")
    table = pq.read_table(writer.pushed / "pictures" / "test.parquet").to_pylist()
    assert b"Image" in pq.read_schema(writer.pushed / "pictures" / "test.parquet").metadata[b"huggingface"]
    np.testing.assert_allclose(image_of_png(table[0]["image"]["bytes"], "it"), image, atol=1 / 127)
    assert "memdet run" not in card_of(writer.pushed / "pictures").text


def test_a_run_is_read_back(writer, run):
    run.push_to_hub("somebody/scores", private=True)
    assert writer.repositories["datasets/somebody/scores"].private
    folder = writer.pushed / "scores"
    assert {path.name for path in folder.iterdir()} == {".gitattributes", "README.md", "run.json", "scores.parquet"}
    back = memdet.load_run(snapshot_download("somebody/scores", repo_type="dataset"))
    pd.testing.assert_frame_equal(back.scores, run.scores)
    card = card_of(folder)
    assert card.data.license == "unknown"
    assert "| wen2024 | 1.000" in card.text
    assert "@inproceedings{wen2024detecting," in card.text
    assert {f"| `{name}` |" in card.text for name in run.score_rows().columns} == {True}


@pytest.mark.slow
def test_a_run_in_memory(writer):
    held = memdet.evaluate("wen2024", "mixture-2d", seeds=1, progress=False)
    held.push_to_hub("somebody/held")
    back = memdet.load_run(writer.pushed / "held")
    pd.testing.assert_frame_equal(back.scores, held.scores)


def test_large_files_go_by_themselves(writer, mine, monkeypatch):
    """Parquet files are large files on the hub: they are uploaded before the commit, which names their checksums."""
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the basic transfer, of which this hub knows
    writer.stored_apart = (".parquet",)
    mine.push_to_hub("somebody/mine")
    kinds = [path.split("/")[0] if path.startswith("lfs") else path.split("/")[-1] for path in writer.uploads]
    assert kinds == ["create", "main", "batch", "lfs", "lfs", "main"]
    assert pq.read_table(writer.pushed / "mine" / "test.parquet")["prompt"].to_pylist() == [
        "a cat",
        "a dog, red",
        "a fish",
    ]


def test_a_second_push_replaces_the_files(writer, mine):
    mine.push_to_hub("somebody/mine")
    changed = SampleSet.from_pandas(FRAME.assign(prompt=list("abcd")), id="mine")
    changed.push_to_hub("somebody/mine")
    assert pq.read_table(writer.pushed / "mine" / "test.parquet")["prompt"].to_pylist() == ["a", "b", "d"]


def test_nothing_is_mixed_with_other_files(writer, mine, run):
    mine.push_to_hub("somebody/mine")
    before = {path.name: path.read_bytes() for path in (writer.pushed / "mine").iterdir()}
    message = refusal(run.push_to_hub, "somebody/mine")
    assert "somebody/mine is there and holds other files (dev.parquet, test.parquet): name a new one" in message
    assert {path.name: path.read_bytes() for path in (writer.pushed / "mine").iterdir()} == before


def test_what_must_be_private_is_never_public(writer, mine):
    mine.push_to_hub("somebody/mine")
    asked = len(writer.uploads)
    assert "is there and public" in refusal(mine.push_to_hub, "somebody/mine", private=True)
    assert [path.split("/")[-1] for path in writer.uploads[asked:]] == ["create"]


def test_prompts_of_others_are_pushed_privately_alone(writer, mine, tmp_path):
    import dataclasses

    spec = load_sample_set("mixture-2d").spec.model_copy(update={"licence": "None is stated; nothing of it ships."})
    theirs = dataclasses.replace(load_sample_set("mixture-2d"), spec=spec)
    message = refusal(theirs.push_to_hub, "somebody/theirs")
    assert "mixture-2d is not yours to publish (its licence: None is stated" in message
    assert writer.uploads == []
    theirs.push_to_hub("somebody/theirs", private=True)
    assert card_of(writer.pushed / "theirs").data.license == "other"


@pytest.mark.parametrize("name", ["", "mine", "a/b/c", "somebody/", "some body/mine", "a/b--c", "../mine", None])
def test_names_that_are_none(writer, mine, name):
    assert "say owner/name" in refusal(mine.push_to_hub, name)
    assert writer.uploads == []


def test_without_a_token(nobody, mine, run):
    for one in (mine, run):
        message = refusal(one.push_to_hub, "somebody/mine")
        assert "nobody is logged in" in message
        assert "hf auth login" in message
    assert nobody.uploads == []


def test_tokens_that_may_not_write(hub, mine, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    assert "does not know this token" in refusal(mine.push_to_hub, "somebody/mine")
    monkeypatch.setenv("HF_TOKEN", "hf_of_somebody")
    assert "does not let this token write to another/mine" in refusal(mine.push_to_hub, "another/mine")


def test_offline(writer, mine, run, monkeypatch):
    assert "`offline` opens no connection" in refusal(mine.push_to_hub, "somebody/mine", offline=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE opens no connection" in refusal(run.push_to_hub, "somebody/mine")
    assert writer.uploads == []


def test_a_hub_that_fails_or_does_not_answer(writer, mine, monkeypatch):
    writer.refuses_commits = True
    assert "the hub refused somebody/mine" in refusal(mine.push_to_hub, "somebody/mine")
    assert [path.name for path in (writer.pushed / "mine").iterdir()] == [".gitattributes"]
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert "the hub does not answer" in refusal(mine.push_to_hub, "somebody/mine")


def test_licences_are_names(writer, mine, run):
    for one in (mine, run):
        assert "`licence` 'free' is not known: MIT" in refusal(one.push_to_hub, "somebody/mine", licence="free")
    assert writer.uploads == []


def test_a_revision_of_another_kind_is_not_asked(writer, mine):
    """A model of the same name is another repository."""
    writer.repositories["somebody/mine"] = Repository({"main": writer.pushed / "model"})
    mine.push_to_hub("somebody/mine")
    assert (writer.pushed / "mine" / "README.md").is_file()


def test_a_card_holds_no_prompt(writer, mine):
    mine.push_to_hub("somebody/mine")
    assert "a cat" not in (writer.pushed / "mine" / "README.md").read_text()
