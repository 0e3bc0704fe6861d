"""A user's own items in JSON Lines."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memdet.errors import UserError
from memdet.samplesets import load_samples_file

GOOD = '{"prompt": "a b", "memorized": 1}\n{"prompt": "c", "memorized": 0, "id": "x", "cluster": "k", "stratum": "s"}\n'
SECOND = '{"prompt": "c", "memorized": 0}\n'


@pytest.fixture
def file(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write(data: str | bytes) -> Path:
        path = tmp_path / "mine.jsonl"
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    return write


@pytest.mark.parametrize("end", ["", "\n", "\n \n\r\n"])
def test_a_samples_file_becomes_a_sample_set(file: Callable[..., Path], end: str):
    sample_set = load_samples_file(file(GOOD.rstrip() + end), model="org/name")
    core = ["item_id", "condition", "label", "cluster", "stratum", "split"]
    assert sample_set.items[core].values.tolist() == [
        ["item-00001", "a b", 1, "item-00001", "all", "test"],
        ["x", "c", 0, "k", "s", "test"],
    ]
    assert list(sample_set.items.columns) == ["item_id", "condition", "model", *core[2:], "extraction", "image"]
    assert (sample_set.id, sample_set.version, sample_set.title) == ("mine", 1, "mine.jsonl")
    assert (sample_set.model, sample_set.task, sample_set.has_prompts) == ("org/name", "prompt", True)
    assert sample_set.spec is None
    assert sample_set.protocol.model_dump() == {
        "scheduler": "ddim",
        "steps": 50,
        "guidance": 7.5,
        "seeds": 1,
        "noise": "shared",
    }


def test_a_measured_extraction_rate_is_read(file: Callable[..., Path]):
    rows = '{"prompt": "a", "memorized": 1, "extraction_rate": 0.75}\n{"prompt": "b", "memorized": 0}\n'
    first, second = load_samples_file(file(rows), model="m").items["extraction"]
    assert first == 0.75
    assert second != second


@pytest.mark.parametrize("value", ["1.5", "-0.1", "true", '"high"', "[1]"])
def test_an_extraction_rate_is_a_share(file: Callable[..., Path], value: str):
    path = file(f'{{"prompt": "a", "memorized": 1, "extraction_rate": {value}}}\n{SECOND}')
    with pytest.raises(UserError, match="line 1: the extraction rate is .*write a share from 0 to 1"):
        load_samples_file(path, model="m")


def test_windows_line_ends_and_a_byte_order_mark_are_accepted(file: Callable[..., Path]):
    data = b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()
    assert load_samples_file(file(data), model="m").items["condition"].tolist() == ["a b", "c"]


def test_settings_are_taken_and_change_the_hash(file: Callable[..., Path]):
    path = file(GOOD)
    plain = load_samples_file(path, model="m")
    other = load_samples_file(str(path), model="m", noise="per-item", steps=5, guidance=0, seeds=3)
    assert (other.protocol.noise, other.protocol.steps, other.protocol.guidance, other.protocol.seeds) == (
        "per-item",
        5,
        0.0,
        3,
    )
    hashes = {plain.content_hash, other.content_hash, load_samples_file(file(GOOD + "\n"), model="m").content_hash}
    assert len(hashes) == 3
    assert load_samples_file(file(GOOD), model="m").content_hash == plain.content_hash


@pytest.mark.parametrize("setting", [{"noise": "both"}, {"steps": 0}, {"guidance": -1.0}, {"seeds": 0}])
def test_settings_out_of_range_are_refused(setting: dict, file: Callable[..., Path], refused: Callable[..., str]):
    ((name, value),) = setting.items()
    refused(
        lambda: load_samples_file(file(GOOD), model="m", **setting), "mine.jsonl", f"{name}={value!r}: Input should"
    )


MISSING = 'write {"prompt": "...", "memorized": 0 or 1}'
BAD: dict[str, tuple[str, ...]] = {
    SECOND + '{"memorized": 1}': ("line 2", "key 'prompt' is missing", MISSING),
    SECOND + '{"prompt": "x"}': ("line 2", "key 'memorized' is missing", MISSING),
    SECOND + '{"prompt": "x", "memorised": 1}': ("line 2", "key 'memorized' is missing", "did you mean memorised?"),
    '{"prompt": "x", "memorised": 1}': ("line 1", "has no labels", "did you mean memorised?", "memdet scan"),
    '{"prompt": "x", "memorized": 1, "label": 1}': ("line 1", "'memorized' and 'label', which mean one", "remove one"),
    SECOND + '{"prompt": "x", "memorized": true}': ("line 2", "memorized is true", "write the number 0 or 1"),
    SECOND + '{"prompt": "x", "memorized": "1"}': ("line 2", 'memorized is "1"', "write the number 0 or 1"),
    SECOND + '{"prompt": "x", "memorized": 2}': ("line 2", "memorized is 2", "write the number 0 or 1"),
    SECOND + '{"prompt": "x", "memorized": 1.0}': ("line 2", "memorized is 1.0", "write the number 0 or 1"),
    SECOND + '{"prompt": "x", "memorized": null}': ("line 2", "memorized is null", "write the number 0 or 1"),
    SECOND + '{"prompt": "x", "memorized": NaN}': ("line 2", "memorized is NaN", "write the number 0 or 1"),
    SECOND + '{"prompt": "", "memorized": 1}': ("line 2", 'prompt is ""', "write text in quotes"),
    SECOND + '{"prompt": " ", "memorized": 1}': ("line 2", 'prompt is " "', "write text in quotes"),
    SECOND + '{"prompt": ["x"], "memorized": 1}': ("line 2", "prompt is", "write text in quotes"),
    SECOND + '{"prompt": "x", "memorized": 1, "id": 7.5}': ("line 2", "id is 7.5", "write text or a whole number"),
    SECOND + '{"prompt": "x", "memorized": 1, "id": true}': ("line 2", "id is true", "write text or a whole number"),
    SECOND + '{"prompt": "x", "memorized": 1, "cluster": []}': ("line 2", "cluster is []", "write text"),
    SECOND + '{"prompt": "\\ud800", "memorized": 1}': ("line 2", "condition holds half", "write whole characters"),
    SECOND + '{"prompt": "x", "memorized": 1': ("line 2", "invalid JSON", "column", "write one object a line"),
    SECOND + '{"prompt": "x", "prompt": "y", "memorized": 1}': ("line 2", "'prompt' is given twice", "correct"),
    SECOND + "[" * 100_000: ("line 2", "invalid JSON", "correct the line"),
    SECOND + '"x"': ("line 2", "expected a JSON object in braces", '"x"'),
    SECOND + '\n{"prompt": "x", "memorized": 1}': ("line 2", "the line is blank; remove it"),
    '{"prompt": "x", "memorized": 1, "id": "a"}\n\t\n': ("has only memorized items to test", 'write "memorized": 1'),
    SECOND: ("has no memorized items to test", 'write "memorized": 1'),
    "": ("holds no items", "write one JSON object a line"),
    "\n\n": ("holds no items", "write one JSON object a line"),
    SECOND + '{"prompt": "x", "memorized": 1, "id": "item-00001"}': (
        "line 2: item id 'item-00001' is also in line 1",
        "give each item its own id",
    ),
}


@pytest.mark.parametrize("data", BAD, ids=lambda data: data[-40:])
def test_a_mistake_is_located(data: str, file: Callable[..., Path], refused: Callable[..., str]):
    refused(lambda: load_samples_file(file(data), model="m"), "mine.jsonl", *BAD[data])


def test_invalid_utf8_is_located(file: Callable[..., Path], refused: Callable[..., str]):
    data = SECOND.encode() + b'{"prompt": "caf\xe9", "memorized": 1}\n'
    byte = len(SECOND) + 15
    refused(
        lambda: load_samples_file(file(data), model="m"),
        f"mine.jsonl, line 2: byte {byte} of the file is not valid UTF-8; save the file as UTF-8",
    )


def test_a_missing_samples_file_is_named(tmp_path: Path, refused: Callable[..., str]):
    refused(lambda: load_samples_file(tmp_path / "none.jsonl", model="m"), "none.jsonl does not exist; check the path")
    refused(lambda: load_samples_file(tmp_path, model="m"), str(tmp_path), "is a directory")


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(prompts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=2, max_size=6))
def test_any_prompt_survives(prompts: list[str], file: Callable[..., Path]):
    rows = [{"prompt": prompt, "memorized": index % 2} for index, prompt in enumerate(prompts)]
    path = file("\n".join(json.dumps(row, ensure_ascii=False) for row in rows))
    assert load_samples_file(path, model="m").items["condition"].tolist() == prompts
