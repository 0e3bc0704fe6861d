"""A sample set as a Python object: items, data frames, datasets, what it says of itself."""

import dataclasses
import json
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memdet.samplesets import (
    Item,
    SampleSet,
    load_sample_set,
    load_samples_file,
    load_spec,
    load_suite,
    read_prompts,
    scan_set,
)

GOOD = {
    "prompt": ["a cat", "a dog", "None"],
    "label": [1, 0, 0],
    "item_id": ["x", "007", "z"],
    "cluster": ["k", "k", "z"],
    "split": ["test", "test", "dev"],
}


def frame(**changes: Any) -> pd.DataFrame:
    return pd.DataFrame({name: column for name, column in (GOOD | changes).items() if column is not None})


def test_a_set_has_a_length_and_gives_items():
    sample_set = SampleSet.from_pandas(frame(), model="org/name", id="mine")
    assert len(sample_set) == 3
    assert list(sample_set) == [
        Item("x", "a cat", 1, "k", "all", "test", "org/name"),
        Item("007", "a dog", 0, "k", "all", "test", "org/name"),
        Item("z", "None", 0, "z", "all", "dev", "org/name"),
    ]
    assert [type(item.label) for item in sample_set] == [int, int, int]


def test_items_of_a_scan_have_no_label(tmp_path: Path):
    (tmp_path / "prompts.txt").write_text("one\ntwo\n")
    prompts = read_prompts(tmp_path / "prompts.txt")
    items = scan_set(prompts, None, model="m", steps=5, guidance=2.0, seeds=1)
    assert [(item.condition, item.label) for item in items] == [("one", None), ("two", None)]
    assert (
        repr(items) == "SampleSet('scan', version 1: 2 items, no labels; test 2; model m; 5 steps, guidance 2, 1 seed)"
    )


@pytest.mark.parametrize("name", ["mixture-2d", "tiny-sd-a-narrow", "tiny-sd-swap", "fashion-pixel-generated"])
def test_items_survive_a_data_frame(name: str):
    sample_set = load_sample_set(name)
    again = SampleSet.from_pandas(sample_set.to_pandas(), model=sample_set.model, id=name)
    pd.testing.assert_frame_equal(again.items, sample_set.items)
    assert (again.has_prompts, again.task, again.model) == (sample_set.has_prompts, sample_set.task, sample_set.model)
    assert list(again) == list(sample_set)


@pytest.mark.parametrize("name", ["tiny-sd-a-narrow", "fashion-pixel-generated"])
def test_items_survive_datasets(name: str):
    sample_set = load_sample_set(name)
    parts = sample_set.to_datasets()
    assert {split: len(part) for split, part in parts.items()} == dict(sample_set.items["split"].value_counts())
    together = pd.concat([part.to_pandas() for part in parts.values()])
    again = SampleSet.from_pandas(together).items.set_index("item_id").loc[sample_set.items["item_id"]].reset_index()
    pd.testing.assert_frame_equal(again, sample_set.items, check_exact=False, atol=1e-6)


def test_a_split_without_items_is_left_out():
    parts = SampleSet.from_pandas(frame(split=None)).to_datasets()
    assert {split: part["prompt"][:] for split, part in parts.items()} == {"test": ["a cat", "a dog", "None"]}


def test_a_data_frame_and_a_file_make_the_same_items(tmp_path: Path):
    rows = [{"prompt": "a b", "memorized": 1}, {"prompt": "c", "memorized": 0}]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    a = SampleSet.from_jsonl(path, model="m", noise="per-item", steps=5, guidance=0, seeds=3)
    b = load_samples_file(path, model="m", noise="per-item", steps=5, guidance=0, seeds=3)
    c = SampleSet.from_pandas(pd.DataFrame(rows), model="m", noise="per-item", steps=5, guidance=0, seeds=3)
    pd.testing.assert_frame_equal(a.items, b.items)
    pd.testing.assert_frame_equal(a.items, c.items)
    assert a.protocol == b.protocol == c.protocol
    assert (a.id, a.content_hash) == (b.id, b.content_hash)


def test_columns_may_have_the_names_of_files():
    other = frame(item_id=None, label=None, id=GOOD["item_id"], memorized=GOOD["label"])
    pd.testing.assert_frame_equal(SampleSet.from_pandas(other).items, SampleSet.from_pandas(frame()).items)
    classes = SampleSet.from_pandas(frame(prompt=None, condition=["1", "2", "3"]))
    assert not classes.has_prompts
    assert list(classes.to_pandas())[:3] == ["item_id", "condition", "label"]


def test_the_model_can_come_later():
    none = SampleSet.from_pandas(frame())
    assert none.model is None
    assert {item.model for item in none} == {None}
    assert "model" not in none.to_pandas()
    later = none.with_model("org/name")
    assert (later.model, {item.model for item in later}) == ("org/name", {"org/name"})
    assert later.content_hash == none.content_hash == SampleSet.from_pandas(frame(), model="other").content_hash
    assert none.model is None
    spanning = SampleSet.from_pandas(frame(model=["a", "b", "a"]))
    assert (spanning.model, [item.model for item in spanning]) == ("a", ["a", "b", "a"])


def test_the_hash_is_that_of_the_content():
    plain = SampleSet.from_pandas(frame()).content_hash
    assert SampleSet.from_pandas(frame()[list(reversed(frame().columns))], id="other").content_hash == plain
    picture = np.zeros((1, 2, 2), np.float32)
    others = [
        SampleSet.from_pandas(frame(), seeds=2),
        SampleSet.from_pandas(frame(prompt=["a cat", "a dog", "x"])),
        SampleSet.from_pandas(frame(label=[0, 1, 0])),
        SampleSet.from_pandas(frame(prompt=None, condition=GOOD["prompt"])),
        SampleSet.from_pandas(frame(model=["m"] * 3)),
        SampleSet.from_pandas(frame(extraction=[1.0, float("nan"), 0.0])),
        SampleSet.from_pandas(frame(image=[picture] * 3)),
        SampleSet.from_pandas(frame(image=[picture + 1] * 3)),
        SampleSet.from_pandas(frame(image=[picture.reshape(1, 4, 1)] * 3)),
    ]
    assert len({plain, *(other.content_hash for other in others)}) == 10
    assert [other.task for other in others] == ["prompt"] * 6 + ["image"] * 3


BAD: dict[str, tuple[pd.DataFrame, tuple[str, ...]]] = {
    "empty": (frame().head(0), ("the data frame holds no items",)),
    "no-prompt": (frame(prompt=None), ("no column 'prompt' or 'condition'",)),
    "no-label": (frame(label=None), ("no column 'label' or 'memorized'",)),
    "unknown": (frame(memorised=[1, 0, 0]), ("unknown column 'memorised'", "did you mean memorized?")),
    "number": (frame().rename(columns={"split": 7}), ("unknown column 7", "known ones are item_id")),
    "two-names": (frame(memorized=[1, 0, 0]), ("columns 'label' and 'memorized'", "remove one")),
    "twice": (pd.concat([frame(), frame()[["split"]]], axis=1), ("column 'split' twice",)),
    "label-text": (frame(label=[1, "1", 0]), ('row 2: label is "1"', "write the number 0 or 1")),
    "label-truth": (frame(label=[True, False, True]), ("row 1: label is true", "write the number 0 or 1")),
    "label-decimal": (frame(label=[1, 0, 0.5]), ("row 3: label is 0.5", "write the number 0 or 1")),
    "label-gap": (frame(label=[1, float("nan"), 0]), ("row 2: label is NaN", "write the number 0 or 1")),
    "label-last-gap": (frame(label=[True, 0, float("nan")]), ("row 3: label is NaN", "write the number 0 or 1")),
    "label-na": (frame(label=pd.array([1, pd.NA, 0], dtype="Int64")), ("row 2: label is <NA>",)),
    "label-time": (frame(label=[pd.NaT, 1, 0]), ("row 1: label is NaT",)),
    "label-array": (frame(label=[1, 0, np.array([1, 2])]), ("row 3: label is array([1, 2])",)),
    "label-large": (frame(label=[1.0, 0.0, 2.0]), ("row 3: label is 2;",)),
    "label-infinite": (frame(label=[1.0, 0.0, np.inf]), ("row 3: label is Infinity;",)),
    "label-two": (frame(label=[1, 0, 2]), ("row 3: label is 2",)),
    "label-missing": (frame(label=[1, None, pd.NA]).astype(object), ("row 2: label is null",)),
    "prompt-gap": (frame(prompt=["a", None, "b"]), ("row 2: prompt is", "write text in quotes")),
    "prompt-white": (frame(prompt=["a", "b", " "]), ('row 3: prompt is " "', "not empty")),
    "prompt-list": (frame(prompt=["a", np.array(["b"]), "c"]), ("row 2: prompt is array(['b']",)),
    "id-number": (frame(item_id=[1, 2, 3]), ("row 1: item_id is 1", "write text in quotes")),
    "id-repeated": (frame(item_id=["a", "b", "a"]), ("row 3: item id 'a' is also in row 1", "its own id")),
    "split": (frame(split=["test", "train", "test"]), ("row 2: split is 'train'; write dev or test",)),
    "surrogate": (
        frame(prompt=pd.Series(["a", "\ud800", "c"], dtype=object)),
        ("row 2: condition holds half",),
    ),
    "one-label": (frame(label=[0, 0, 1]), ("the data frame has no memorized items to test", "column 'label'")),
    "share": (frame(extraction=[0.5, 1.5, 0.0]), ("row 2: extraction is 1.5", "from 0 to 1")),
    "share-text": (frame(extraction=["0.5", None, None]), ("row 1: extraction is '0.5'",)),
    "image-gap": (frame(image=[np.zeros((1, 2, 2)), None, None]), ("row 2: image is neither", "nor a PNG")),
    "image-bytes": (frame(image=[b"no", b"no", b"no"]), ("row 1: image holds no PNG image", "write it again")),
    "image-grey": (frame(image=[np.full((1, 2, 2), 255.0)] * 3), ("row 1: image holds values", "[-1, 1]")),
    "image-nan": (frame(image=[np.full((1, 2, 2), np.nan)] * 3), ("row 1: image holds values", "[-1, 1]")),
    "image-flat": (frame(image=[np.zeros((2, 2))] * 3), ("row 1: image is neither",)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_mistake_in_a_data_frame_is_located(name: str, refused: Callable[..., str]):
    data, parts = BAD[name]
    refused(lambda: SampleSet.from_pandas(data), "the data frame", *parts)


@pytest.mark.parametrize("labels", [[1.0, 0.0, 0.0], [1, 0.0, 0], np.array([1, 0, 0], np.float32)])
def test_decimals_that_are_whole_are_labels(labels: Any):
    found = SampleSet.from_pandas(frame(label=labels))
    assert found.items["label"].tolist() == GOOD["label"]
    assert found.content_hash == SampleSet.from_pandas(frame()).content_hash


WRONG_IDS = [
    "../../escaped",
    "a/b",
    "a\\b",
    "x\0y",
    "x\ny",
    "a" * 300,
    "é" * 101,
    "",
    " ",
    " a",
    "a.",
    "..",
    "a:b",
    "\u202ex",
]


@pytest.mark.parametrize("name", WRONG_IDS)
def test_an_id_leads_nowhere(name: str, refused: Callable[..., str]):
    words = ("sample set id", "cannot name a set; write a name for files: up to 200 bytes")
    refused(lambda: SampleSet.from_pandas(frame(), id=name), *words)
    refused(lambda: dataclasses.replace(SampleSet.from_pandas(frame()), id=name), *words)


@pytest.mark.parametrize("name", [3, None, b"mine", Path("mine")])
def test_an_id_is_text(name: Any, refused: Callable[..., str]):
    words = f"the id of a sample set is text, not {type(name).__name__}; write a name for files"
    refused(lambda: SampleSet.from_pandas(frame(), id=name), words)


@pytest.mark.parametrize("name", ["mine", "My prompts (2)", "v1.0_b-c+d", "Prüfung", "测试", "a" * 200])
def test_an_id_is_what_a_file_may_be_named(name: str):
    assert SampleSet.from_pandas(frame(), id=name).id == name


@pytest.mark.parametrize(
    ("stem", "name"),
    [("my file", "my file"), ("Prüfung (2)", "Prüfung (2)"), ("a:b", "a-b"), (".hidden", "hidden"), ("...", "samples")],
)
def test_a_file_of_any_name_names_a_set(tmp_path: Path, stem: str, name: str):
    path = tmp_path / f"{stem}.jsonl"
    path.write_text('{"prompt": "a", "memorized": 1}\n{"prompt": "b", "memorized": 0}\n')
    assert SampleSet.from_jsonl(path, model="m").id == name


class Loaded:
    """As a loaded model looks."""

    latent_shape = (2,)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Loaded(), "`model` is a loaded Loaded, a sample set holds a name; give it to evaluate(model=...)"),
        (3, "`model` is int; write what memdet.load_model takes"),
        ("", "`model` is ''; write what memdet.load_model takes"),
        (" ", "`model` is ' '; write what"),
    ],
)
def test_a_model_is_named(model: Any, words: str, tmp_path: Path, refused: Callable[..., str]):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "a", "memorized": 1}\n{"prompt": "b", "memorized": 0}\n')
    for make in (
        lambda: SampleSet.from_pandas(frame(), model=model),
        lambda: SampleSet.from_jsonl(path, model=model),
        lambda: SampleSet.from_pandas(frame()).with_model(model),
    ):
        refused(make, words)


def test_a_model_may_be_a_path(tmp_path: Path):
    for made in (
        SampleSet.from_pandas(frame(), model=tmp_path),
        SampleSet.from_pandas(frame()).with_model(tmp_path),
    ):
        assert (made.model, {item.model for item in made}) == (str(tmp_path), {str(tmp_path)})


def test_a_model_and_a_column_agree(refused: Callable[..., str]):
    several = frame(model=["a", "b", "a"])
    assert SampleSet.from_pandas(several, model="b").model == "b"
    words = "`model` is 'c', and the data frame has a column 'model' without it, 'a' first; leave one of them out"
    refused(lambda: SampleSet.from_pandas(several, model="c"), words)


def changed(sample_set: SampleSet, **columns: Any) -> SampleSet:
    return dataclasses.replace(sample_set, items=sample_set.items.assign(**columns))


def test_items_that_are_replaced_have_another_hash():
    plain = SampleSet.from_pandas(frame(), model="m")
    protocol = plain.protocol.model_copy(update={"steps": 7})
    others = [
        changed(plain, label=[0, 1, 0]),
        changed(plain, condition=["a cat", "a dog", "x"]),
        changed(plain, model="other"),
        dataclasses.replace(plain, items=plain.items.head(2)),
        dataclasses.replace(plain, items=plain.items[::-1]),
        dataclasses.replace(plain, protocol=protocol),
    ]
    assert len({plain.content_hash, *(other.content_hash for other in others)}) == 7
    assert changed(plain, label=[0, 1, 0]).content_hash == others[0].content_hash
    assert changed(others[0], label=[1, 0, 0]).content_hash not in {plain.content_hash, others[0].content_hash}


def test_what_holds_the_same_keeps_its_hash():
    for plain in (SampleSet.from_pandas(frame(), model="m"), load_sample_set("mixture-2d")):
        same = [
            dataclasses.replace(plain, items=plain.items.copy()),
            dataclasses.replace(plain, title="another", id="another"),
            dataclasses.replace(plain, protocol=plain.protocol.model_copy()),
            plain.with_model("other"),
            dataclasses.replace(plain.with_model("other"), title="another"),
            pickle.loads(pickle.dumps(plain)),
            dataclasses.replace(pickle.loads(pickle.dumps(plain)), title="another"),
        ]
        assert {one.content_hash for one in same} == {plain.content_hash}


@pytest.mark.parametrize("name", ["tiny-sd-a-verbatim", "fashion-pixel-generated"])
def test_a_shipped_set_that_is_cut_has_another_hash(name: str):
    whole = load_sample_set(name)
    cut = [dataclasses.replace(whole, items=whole.items.head(n)).content_hash for n in (10, 11)]
    assert len({whole.content_hash, *cut}) == 3


@pytest.mark.parametrize("given", [None, 3, frame(), SampleSet.from_pandas(frame())])
def test_what_names_no_set(given: Any, refused: Callable[..., str]):
    found = type(given).__name__
    advice = {
        "DataFrame": "SampleSet.from_pandas(frame) makes a sample set of a data frame",
        "SampleSet": "it is a sample set already, use it as it is",
    }.get(found, "write an id from `memdet list sets` or the path of a file")
    refused(lambda: load_sample_set(given), f"named by its id or a path, not {found}; {advice}")
    refused(lambda: load_spec(given), f"named by its id or a path, not {found}; {advice}")
    refused(lambda: SampleSet.from_jsonl(given, model="m"), f"a samples file is named by a path, not {found}; {advice}")
    refused(lambda: load_suite(given), f"a suite is named by text, not {found}")


def test_what_can_be_no_path(refused: Callable[..., str]):
    refused(lambda: SampleSet.from_jsonl("x\0y", model="m"), r"'x\x00y' can be no path; check it")


def test_what_is_no_data_frame_is_refused(refused: Callable[..., str]):
    refused(lambda: SampleSet.from_pandas([{"prompt": "a", "label": 1}]), "expected a pandas DataFrame, found list")


@pytest.mark.parametrize("setting", [{"noise": "both"}, {"steps": 0}, {"guidance": -1.0}, {"seeds": 0}])
def test_settings_out_of_range_are_refused(setting: dict[str, Any], refused: Callable[..., str]):
    ((name, value),) = setting.items()
    refused(lambda: SampleSet.from_pandas(frame(), id="mine", **setting), f"mine: {name}={value!r}: Input should")


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(prompts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=2, max_size=6))
def test_any_prompt_survives_a_data_frame(prompts: list[str]):
    labels = [index % 2 for index in range(len(prompts))]
    sample_set = SampleSet.from_pandas(pd.DataFrame({"prompt": prompts, "label": labels}))
    assert [item.condition for item in sample_set] == prompts
    pd.testing.assert_frame_equal(SampleSet.from_pandas(sample_set.to_pandas()).items, sample_set.items)


def test_it_says_what_it_is():
    sample_set = load_sample_set("tiny-sd-a-narrow")
    labels = sample_set.items["label"].tolist()
    assert repr(sample_set).startswith(
        f"SampleSet('tiny-sd-a-narrow', version {sample_set.version}: {len(labels)} items"
    )
    assert f"{sum(labels)} memorized, {len(labels) - sum(labels)} not" in repr(sample_set)
    assert "model tiny-sd-a" in repr(sample_set)
    assert "2 models" in repr(load_sample_set("tiny-sd-swap"))
    page = sample_set._repr_html_()
    assert page.count("<tr") == 6
    assert f"and {len(labels) - 5} more" in page


def test_prompts_cannot_steer_a_notebook():
    page = SampleSet.from_pandas(frame(prompt=["<script>x</script>", "a\x1b[2J\u202e", "c"]))._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_datasets_open_no_connection(monkeypatch: pytest.MonkeyPatch):
    def closed(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "create_connection", closed)
    assert len(SampleSet.from_pandas(frame()).to_datasets()["dev"]) == 1
