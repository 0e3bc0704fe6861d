"""Sample sets of several files, and pairs of prompt files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from memdet.samplesets import load_prompt_pair, load_sample_set, load_spec

Refused = Callable[..., str]
PROMPTS = ["A <i>first</i> one; with, both", '"quoted"', "naïve café"]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """The same prompts in every format, beside other columns."""
    texts = {
        "lines.txt": "\n".join(PROMPTS[:2]) + "\n\n" + PROMPTS[2],
        "windows.txt": "\ufeff" + "\r\n".join(PROMPTS) + "\r\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, newline="", encoding="utf-8")
    frame = pd.DataFrame({"Caption": PROMPTS, "URL": ["u", "", "w"], "type": ["x", "y", "x"]})
    frame.to_csv(tmp_path / "semicolon.csv", sep=";")
    frame.to_csv(tmp_path / "comma.csv")
    frame[["Caption"]].to_csv(tmp_path / "single.csv", index=False)
    frame.to_parquet(tmp_path / "table.parquet")
    (tmp_path / "lines.jsonl").write_text(
        "".join(json.dumps({"index": 1, "caption": prompt}) + "\n" for prompt in PROMPTS)
    )
    (tmp_path / "other.txt").write_text("another\n")
    return {path.name: path for path in tmp_path.iterdir()}


NAMES = [
    "lines.txt",
    "windows.txt",
    "semicolon.csv",
    "comma.csv",
    "single.csv",
    "table.parquet",
    "lines.jsonl",
]


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_read_from_every_format(name: str, files: dict[str, Path]):
    pair = load_prompt_pair(files[name], files["other.txt"])
    assert pair.items["condition"].tolist() == [*PROMPTS, "another"]
    assert pair.items["label"].tolist() == [1, 1, 1, 0]
    assert pair.id == f"{name} against other.txt"
    assert (pair.model, pair.has_prompts, pair.task) == (None, True, "prompt")
    assert pair.items["item_id"].is_unique


def test_a_column_can_be_named(files: dict[str, Path]):
    pair = load_prompt_pair(files["comma.csv"], files["semicolon.csv"], column="type")
    assert pair.items["condition"].tolist() == ["x", "y", "x"] * 2


BAD = {
    "missing.txt": (None, ["missing.txt does not exist"]),
    "empty.txt": (b"\n \n", ["holds no prompts", "one a line or row"]),
    "empty.csv": (b"", ["empty.csv", "columns none", "`column`"]),
    "headless.csv": (b"a,b\n1,2\n", ["'a', 'b'", "`column`"]),
    "gap.csv": (b"prompt,b\n,2\n", ["line 2", "the prompt is empty"]),
    "number.jsonl": (b'{"prompt": 3}\n', ["line 1", "not text"]),
    "half.jsonl": (b'{"prompt": "\\ud800"}\n', ["line 1", "surrogate"]),
    "keys.jsonl": (b'{"prompt": "a"}\n{"text": "b"}\n', ["line 2", "'prompt' is missing"]),
    "short.csv": (b"prompt;b\nx\n", ["line 2", "1 fields", "semicolons"]),
    "latin.txt": (b"caf\xe9\n", ["line 1", "UTF-8"]),
    "bad.parquet": (b"PAR1", ["not a readable Parquet"]),
    "book.docx": (b"x", ["unknown format '.docx'", ".txt, .csv, .jsonl, .parquet"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_prompt_files_are_located(name: str, files: dict[str, Path], refused: Refused, tmp_path: Path):
    content, parts = BAD[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    refused(lambda: load_prompt_pair(tmp_path / name, files["other.txt"]), name, *parts)


def test_a_text_file_has_no_columns(files: dict[str, Path], refused: Refused):
    refused(lambda: load_prompt_pair(files["lines.txt"], files["comma.csv"], column="Caption"), "lines.txt", "a line")


@pytest.fixture
def parts(spec: dict[str, Any], files: dict[str, Path]) -> dict[str, Any]:
    """A spec of two files, one a class."""
    spec["columns"] = {"id": "id", "prompt": "prompt", "cluster": "cluster", "stratum": "stratum"}
    spec["columns"]["label"] = {"column": "part", "positive": ["copied"], "negative": ["once"]}
    copied = {"kind": "local", "path": "semicolon.csv"}
    once = {"kind": "local", "path": "once.txt"}
    (files["other.txt"].parent / "once.txt").write_text("a b c\nb c a d\nno kin\n")
    spec["source"] = {
        "kind": "files",
        "parts": [
            {"name": "copied", "source": copied, "items": 3, "prompt": "Caption", "separator": ";", "stratum": "type"},
            {
                "name": "once",
                "source": once,
                "items": 3,
                "strata": [{"name": "first", "rows": [1, 1]}, {"name": "rest", "rows": [2, 3]}],
            },
        ],
    }
    return spec


def test_parts_are_one_sample_set(parts: dict[str, Any], write: Callable[..., Path]):
    items = load_sample_set(write(parts, None)).items
    assert items["item_id"].tolist() == [f"{part}-0000{n}" for part in ("copied", "once") for n in (1, 2, 3)]
    assert items["label"].tolist() == [1, 1, 1, 0, 0, 0]
    assert items["stratum"].tolist() == ["x", "y", "x", "first", "rest", "rest"]
    assert [int(name.removeprefix("family-")) for name in items["cluster"]] == [0, 1, 2, 3, 3, 4]


def test_a_column_of_clusters_is_kept_whole(parts: dict[str, Any], write: Callable[..., Path]):
    parts["source"]["parts"][0]["cluster"] = "type"
    clusters = load_sample_set(write(parts, None)).items["cluster"].tolist()
    assert clusters[0] == clusters[2] != clusters[1]


def test_the_hash_covers_every_part(parts: dict[str, Any], write: Callable[..., Path], files: dict[str, Path]):
    path = write(parts, None)
    before = load_sample_set(path).content_hash
    (path.parent / "once.txt").write_text("a b c\nb c a d\nno kith\n")
    assert load_sample_set(path).content_hash != before


def test_a_part_of_another_size_is_refused(parts: dict[str, Any], write: Callable[..., Path], refused: Refused):
    parts["source"]["parts"][0]["items"] = 4
    refused(lambda: load_sample_set(write(parts, None)), "semicolon.csv holds 3 prompts", "says 4 for 'copied'")


def test_a_column_that_parts_lack_is_refused(parts: dict[str, Any], write: Callable[..., Path], refused: Refused):
    parts["columns"]["stratum"] = "strata"
    refused(lambda: load_sample_set(write(parts, None)), "column 'strata' is missing", "did you mean stratum")


WRONG = {
    "gap": ([{"name": "a", "rows": [1, 1]}, {"name": "b", "rows": [3, 3]}], "write [2, last]"),
    "short": ([{"name": "a", "rows": [1, 2]}], "strata end at row 2, the part has 3 items"),
    "backwards": ([{"name": "a", "rows": [1, 0]}], "rows"),
}


@pytest.mark.parametrize("name", WRONG)
def test_strata_cover_every_row_once(name: str, parts: dict[str, Any], write: Callable[..., Path], refused: Refused):
    parts["source"]["parts"][1]["strata"], words = WRONG[name]
    path = write(parts, None)
    refused(lambda: load_spec(path), str(path), "source.parts.1", words)


def test_mistakes_in_parts_are_explained(parts: dict[str, Any], write: Callable[..., Path], refused: Refused):
    first = parts["source"]["parts"][0]
    first["seperator"] = first.pop("separator")
    refused(lambda: load_spec(write(parts, None)), "'source.parts.0.seperator'", "did you mean separator")
    first["separator"] = first.pop("seperator")
    first["source"] = {"kind": "url", "urll": "https://example.org/x.csv"}
    refused(lambda: load_spec(write(parts, None)), "'source.parts.0.source.urll'", "did you mean url")
    first["source"] = {"kind": "local", "path": "semicolon.csv"}
    parts["source"]["parts"][1]["name"] = "copied"
    refused(lambda: load_spec(write(parts, None)), "two parts have one name")
    parts["source"]["parts"][1] |= {"name": "once", "stratum": "type"}
    refused(lambda: load_spec(write(parts, None)), "not both")
