"""The one reader of prompt files: what all commands read alike, and what they refuse."""

import csv
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from memdet.samplesets import load_prompt_pair, load_samples_file, read_prompts

Refused = Callable[..., str]
PROMPTS = ["one, two; three", 'say "hi"\nthere', " kept as it is ", "naïve café", "one, two; three"]
LABELS = [1, 0, 1, 0, 1]
PUBLISHED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "prompts"
needs_files = pytest.mark.skipif(not PUBLISHED.is_dir(), reason=f"the published prompt files are not in {PUBLISHED}")


def table(prompt: str, label: str, **others: list) -> pd.DataFrame:
    return pd.DataFrame({"url": ["u"] * 5, prompt: PROMPTS, label: LABELS, **others})


def lines(frame: pd.DataFrame, path: Path) -> None:
    path.write_text(frame.to_json(orient="records", lines=True), encoding="utf-8")


def listed(frame: pd.DataFrame, path: Path) -> None:
    path.write_text(frame.to_json(orient="records", indent=2), encoding="utf-8")


WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "comma.csv": lambda frame, path: frame.to_csv(path, index=False),
    "excel.csv": lambda frame, path: frame.to_csv(
        path, index=False, sep=";", encoding="utf-8-sig", lineterminator="\r\n"
    ),
    "quoted.csv": lambda frame, path: frame.to_csv(path, index=False, quoting=csv.QUOTE_ALL),
    "bars.csv": lambda frame, path: frame.to_csv(path, sep="|"),
    "tabs.tsv": lambda frame, path: frame.to_csv(path, index=False, sep="\t"),
    "BIG.PARQUET": lambda frame, path: frame.convert_dtypes().to_parquet(path),
    "lines.jsonl": lines,
    "list.json": listed,
    "lines.json": lines,
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def _write(name: str, content: pd.DataFrame | bytes | str) -> Path:
        path = tmp_path / name
        if isinstance(content, pd.DataFrame):
            WRITERS[name](content, path)
        else:
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return _write


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize(("prompt", "label"), [("prompt", "memorized"), ("Caption", "Label"), ("text", "label")])
def test_every_format_says_the_same_to_every_command(name: str, prompt: str, label: str, write: Callable[..., Path]):
    ids = pd.Series([7, None, 9, 11, 12], dtype="Int64")
    path = write(name, table(prompt, label, id=ids, cluster=["k", None, "k", "", "m"]))
    items = load_samples_file(path, model="m").items
    assert items["condition"].tolist() == PROMPTS
    assert items["label"].tolist() == LABELS
    assert items["item_id"].tolist() == ["7", "item-00002", "9", "11", "12"]
    found = read_prompts(path).prompts
    assert [prompt.text for prompt in found] == PROMPTS[:4]
    assert [prompt.id for prompt in found][0::2] == ["7", "9"]
    assert found[0].cluster == found[2].cluster
    pair = load_prompt_pair(path, write("other.txt", "another\n"))
    assert pair.items["condition"].tolist() == [*PROMPTS, "another"]


def test_a_text_file_and_a_list_of_texts_are_prompts(write: Callable[..., Path]):
    expected = ["a", "b c"]
    for name, content in (
        ("a.txt", "\ufeffa\r\n\r\n b c \r\n"),
        ("a.json", '["a", "b c"]'),
        ("b.json", '\ufeff[{"text": "a"}, {"text": "b c"}]'),
        ("a.csv", "\n\nprompt\na\nb c\n"),
        ("a.tsv", "text\tn\na\t1\nb c\t2\n"),
    ):
        assert [prompt.text for prompt in read_prompts(write(name, content)).prompts] == expected
    pair = load_prompt_pair(write("a.txt", "a\n"), write("c.json", '["b"]'))
    assert pair.items["condition"].tolist() == ["a", "b"]


def test_the_prompts_are_the_first_of_the_usual_columns_and_that_is_said(write: Callable[..., Path], capsys):
    path = write("a.csv", "text,caption,Prompt,memorized\nt,c,p,1\nt2,c2,p2,0\n")
    assert load_samples_file(path, model="m").items["condition"].tolist() == ["p", "p2"]
    err = capsys.readouterr().err
    assert f"{path}: prompts are those of column 'Prompt', not of 'caption' or 'text'" in err
    assert f'{path}: not read: "text", "caption"' in err
    assert load_samples_file(path, model="m", column="text").items["condition"].tolist() == ["t", "t2"]
    assert read_prompts(path, column="caption").prompts[0].text == "c"
    assert "those of" not in capsys.readouterr().err
    hashes = {load_samples_file(path, model="m", column=name).content_hash for name in (None, "text", "caption")}
    assert len(hashes) == 3


def test_a_file_in_which_all_is_read_is_read_silently(write: Callable[..., Path], capsys):
    load_samples_file(write("a.csv", "prompt,memorized,id,cluster,stratum\na,1,x,k,s\nb,0,y,k,t\n"), model="m")
    assert capsys.readouterr().err == ""


def test_labels_are_the_numbers_0_and_1_however_a_column_holds_them(write: Callable[..., Path]):
    frame = pd.DataFrame({"prompt": ["a", "b"], "memorized": [1.0, 0.0]})
    for path in (
        write("BIG.PARQUET", frame),
        write("comma.csv", frame),
        write("tabs.tsv", frame.astype({"memorized": int})),
    ):
        assert load_samples_file(path, model="m").items["label"].tolist() == [1, 0]


NO_LABELS = ("has no labels", "memorized", "memdet scan")
BAD_SAMPLES = {
    "text.txt": ("a\nb\n", NO_LABELS),
    "texts.json": ('["a", "b"]', NO_LABELS),
    "bare.csv": ("prompt,id\na,1\n", NO_LABELS),
    "misspelt.csv": ("prompt,memorised\na,1\n", (*NO_LABELS, "did you mean memorised?")),
    "both.csv": ("prompt,memorized,label\na,1,1\n", ("'memorized' and 'label'", "remove one")),
    "word.csv": ("prompt,label\na,1\nb,memorized\n", ("line 3", 'label is "memorized"', "write the number 0 or 1")),
    "truth.csv": ("prompt,label\na,True\n", ("line 2", 'label is "True"', "write the number 0 or 1")),
    "gap.csv": ("prompt,memorized\na,\n", ("line 2", 'memorized is ""', "write the number 0 or 1")),
    "half.csv": ("prompt,memorized\na,0.5\n", ("line 2", 'memorized is "0.5"', "write the number 0 or 1")),
    "nan.csv": ("prompt,memorized\na,nan\n", ("line 2", 'memorized is "nan"', "write the number 0 or 1")),
    "truth.json": ('[{"prompt": "a", "memorized": true}]', ("item 1", "memorized is true", "write the number 0 or 1")),
    "twice.csv": ("prompt,label,id\na,1,x\nb,0,x\n", ("line 3", "'x' is also in line 2", "its own id")),
    "class.tsv": ("prompt\tlabel\na\t1\n", ("only memorized", "write")),
}


@pytest.mark.parametrize("name", BAD_SAMPLES)
def test_bad_labels_are_located(name: str, write: Callable[..., Path], refused: Refused):
    content, parts = BAD_SAMPLES[name]
    refused(lambda: load_samples_file(write(name, content), model="m"), name, *parts)


def test_bad_labels_of_parquet_are_located(write: Callable[..., Path], refused: Refused):
    for labels, shown in (
        ([1.0, float("nan")], "null"),
        ([True, False], "true"),
        (["1", "yes"], '"yes"'),
        ([1, 2], "2"),
    ):
        path = write("BIG.PARQUET", pd.DataFrame({"prompt": ["a", "b"], "memorized": labels}))
        refused(lambda path=path: load_samples_file(path, model="m"), "BIG.PARQUET", f"memorized is {shown}", "0 or 1")


BAD = {
    "empty.json": ("", ["no prompts"]),
    "none.json": ("[]", ["no prompts"]),
    "empty.tsv": ("", ["holds no prompts", "columns none"]),
    "header.tsv": ("prompt\tid\n", ["no prompts"]),
    "zero.txt": ("a\nb\0c\n", ["line 2", "zero byte", "UTF-8"]),
    "wide.txt": ("a\nb\n".encode("utf-16"), ["UTF-8"]),
    "wide.csv": ("prompt\na\n".encode("utf-16-le"), ["line 1", "zero byte"]),
    "latin.tsv": ("prompt\tn\ncaf\u00e9\t1\n".encode("latin-1"), ["line 2", "UTF-8"]),
    "ragged.tsv": ("prompt\tid\na\t1\nb\n", ["line 3", "1 fields", "2", "tabs"]),
    "blank.csv": ("prompt,id\na,1\n\nb,2\n", ["line 3", "remove the blank line"]),
    "open.csv": ('prompt,id\n"a,1\n', ["invalid CSV"]),
    "cell.csv": ("prompt,id\n ,1\n", ["line 2", "the prompt is empty"]),
    "number.json": ('["a", 3]', ["item 2", "3 is no prompt"]),
    "null.json": ('[{"prompt": null}]', ["item 1", "prompt is null", "not text"]),
    "object.json": ('{"prompts": ["a"]}', ["line 1", "'prompt' is missing", "prompts"]),
    "pretty.json": ('{\n "prompts": ["a"]\n}', ["line 1", "invalid JSON"]),
    "text.json": ('"a"', ["expected a JSON list"]),
    "cut.json": ('["a",\n "b"', ["line 2", "invalid JSON", "[...]"]),
    "deep.json": ("[" * 100_000, ["invalid JSON"]),
    "twice.json": ('[{"prompt": "a", "prompt": "b"}]', ["'prompt' is given twice"]),
    "keys.json": ('[{"caption": "a"}, {"prompt": "b"}]', ["item 2", "key 'caption' is missing", "prompt"]),
    "id.json": ('[{"prompt": "a", "id": 1.5}]', ["item 1", "id is 1.5", "whole number"]),
    "ids.json": ('[{"prompt": "a", "id": 1}, {"prompt": "b", "id": "1"}]', ["item 2", "'1'", "item 1"]),
    "sheet.xlsx": ("x", ["unknown format '.xlsx'", ".tsv"]),
    "no suffix": ("a\n", ["unknown format ''", ".txt"]),
    "bad.parquet": ("PAR1", ["not a readable Parquet"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_located(name: str, write: Callable[..., Path], refused: Refused):
    content, parts = BAD[name]
    refused(lambda: read_prompts(write(name, content)), name, *parts)


def test_prompts_of_parquet_that_are_no_text_are_located(write: Callable[..., Path], refused: Refused):
    for prompts, shown in ((["a", None], "null"), ([1, 2], "1"), ([["a"], ["b"]], '["a"]')):
        path = write("BIG.PARQUET", pd.DataFrame({"prompt": prompts}))
        refused(lambda path=path: read_prompts(path), "BIG.PARQUET, row", f"prompt is {shown}", "not text")


@needs_files
@pytest.mark.parametrize(
    ("memorized", "control"),
    [
        ("jeon_sd1_mem.txt", "jeon_sd1_nmem.txt"),
        ("nemo_memorized_laion_prompts.csv", "nemo_unmemorized_laion_prompts.csv"),
    ],
)
def test_published_files_are_read_as_they_are(memorized: str, control: str, tmp_path: Path):
    pair = load_prompt_pair(PUBLISHED / memorized, PUBLISHED / control)
    assert pair.items["label"].tolist() == [1] * 500 + [0] * 500
    texts = pair.items["condition"].tolist()
    assert texts[0] == "The No Limits Business Woman Podcast"
    scanned = read_prompts(PUBLISHED / memorized)
    assert scanned.n_lines == 500
    assert [prompt.text for prompt in scanned.prompts] == list(dict.fromkeys(texts[:500]))
    for suffix in ("tsv", "parquet", "json"):
        path = tmp_path / f"both.{suffix}"
        frame = pair.items[["condition", "label"]].rename(columns={"condition": "caption"})
        writers = {"tsv": lambda f, p: f.to_csv(p, sep="\t"), "parquet": pd.DataFrame.to_parquet, "json": listed}
        writers[suffix](frame, path)
        items = load_samples_file(path, model="m").items
        assert items[["condition", "label"]].values.tolist() == pair.items[["condition", "label"]].values.tolist()
