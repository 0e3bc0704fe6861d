"""Files of prompts without labels, good and bad."""

import json

import pytest

from memdet.errors import UserError
from memdet.samplesets import read_prompts, scan_set


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def texts(path):
    return [prompt.text for prompt in read_prompts(path).prompts]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_text_file_has_a_prompt_a_line(end, file):
    path = file("a.txt", "\ufeff" + end.join(["one", "", "  two ", "   ", "one", "three", "", ""]))
    found = read_prompts(path)
    assert [(p.text, p.lines, p.id) for p in found.prompts] == [
        ("one", (1, 5), "line-00001"),
        ("two", (3,), "line-00003"),
        ("three", (6,), "line-00006"),
    ]
    assert found.n_lines == 4


def test_only_line_feeds_end_a_line(file):
    """Form feeds, next-line characters and Unicode separators are part of a prompt."""
    prompt = "a\x0cb\x85c\u2028d\x1b[31me"
    assert texts(file("a.txt", f"{prompt}\nother\n")) == [prompt, "other"]


def test_json_lines_and_csv_say_the_same(file):
    rows = [
        {"prompt": "one, two", "id": "7", "cluster": "c", "url": "x"},
        {"prompt": 'say "hi"\nthere', "id": "8", "cluster": "c", "url": "y"},
        {"prompt": " kept as it is ", "id": "9", "cluster": "d", "url": "z"},
    ]
    quoted = ["url,cluster,prompt,id"]
    quoted += ['{url},{cluster},"{0}",{id}'.format(r["prompt"].replace('"', '""'), **r) for r in rows]
    from_csv = read_prompts(file("a.csv", "\n".join(quoted))).prompts
    from_json = read_prompts(file("a.jsonl", "\n".join(map(json.dumps, rows)))).prompts
    assert [(p.text, p.id, p.cluster) for p in from_csv] == [(p.text, p.id, p.cluster) for p in from_json]
    assert [(p.text, p.id, p.cluster) for p in from_json] == [(r["prompt"], r["id"], r["cluster"]) for r in rows]
    assert [p.lines for p in from_json] == [(1,), (2,), (3,)]


def test_ids_may_be_numbers_and_optional_cells_empty(file):
    assert read_prompts(file("a.jsonl", '{"prompt": "a", "id": 17}\n')).prompts[0].id == "17"
    (first, second) = read_prompts(file("a.csv", "prompt,cluster\na,\nb,x\n")).prompts
    assert (first.cluster, second.cluster) == (first.id, "x")


BAD = {
    "unknown format": ("a.docx", b"x", [".docx", ".txt, .jsonl or .csv"]),
    "no suffix": ("prompts", b"x", [".txt"]),
    "empty": ("a.txt", b"", ["no prompts"]),
    "blank": ("a.txt", b"\r\n \n\t\n", ["no prompts"]),
    "empty lines of JSON": ("a.jsonl", b"\n", ["no items"]),
    "empty CSV": ("a.csv", b"", ["no prompts"]),
    "CSV of a header": ("a.csv", b"prompt\n", ["no prompts"]),
    "not UTF-8": ("a.txt", "caf\u00e9\nna\u00efve".encode("latin-1"), ["line 1", "UTF-8"]),
    "UTF-16": ("a.txt", "caf\u00e9".encode("utf-16"), ["UTF-8"]),
    "another key": ("a.jsonl", b'{"promt": "a"}', ["line 1", "prompt", "promt"]),
    "another column": ("a.csv", b"id,promt\n1,a\n", ["first line", "prompt", "promt", "`column`"]),
    "no header": ("a.csv", b"a cat\na dog\n", ["first line", "'a cat'", "rename"]),
    "column twice": ("a.csv", b"prompt,prompt\na,b\n", ["prompt", "twice"]),
    "uneven CSV": ("a.csv", b"prompt,id\na,1\nb\n", ["line 3"]),
    "empty prompt": ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "  "}', ["line 2", "empty"]),
    "number as prompt": ("a.jsonl", b'{"prompt": 3}', ["line 1", "not text"]),
    "half a surrogate pair": ("a.jsonl", rb'{"prompt": "\ud800"}', ["line 1", "surrogate"]),
    "same id": ("a.jsonl", b'{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}', ["line 2", "line 1", "id"]),
    "an id that is a line's": ("a.jsonl", b'{"prompt": "a", "id": "line-00002"}\n{"prompt": "b"}', ["line 2", "id"]),
    "no JSON": ("a.jsonl", b"a prompt\n", ["line 1", "JSON"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_named_with_the_line(name, file):
    suffix, content, words = BAD[name]
    path = file(suffix, content)
    with pytest.raises(UserError) as stop:
        read_prompts(path)
    assert all(word in str(stop.value) for word in [path.name, *words]), str(stop.value)
    assert "\n" not in str(stop.value)


def test_missing_file(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_prompts(tmp_path / "none.txt")


SETTINGS = {"model": "tiny-sd-a", "steps": 50, "guidance": 7.5, "seeds": 4}


def test_a_scan_has_no_labels_and_leaves_scanned_prompts_out_of_the_reference(file):
    prompts = read_prompts(file("p.txt", "one\ntwo\none\n"))
    reference = read_prompts(file("r.jsonl", '{"prompt": "two"}\n{"prompt": "three", "cluster": "c"}\n'))
    items = scan_set(prompts, reference, **SETTINGS).items
    assert items["item_id"].tolist() == ["prompt:line-00001", "prompt:line-00002", "reference:line-00002"]
    assert items["stratum"].tolist() == ["prompt", "prompt", "reference"]
    assert items["condition"].tolist() == ["one", "two", "three"]
    assert items["cluster"].tolist()[-1] == "reference:c"
    assert items["label"].tolist() == [None] * 3


def test_a_reference_that_is_scanned_whole_is_refused(file):
    prompts = read_prompts(file("p.txt", "one\ntwo\n"))
    with pytest.raises(UserError, match="no prompt that is not in"):
        scan_set(prompts, read_prompts(file("r.txt", "two\n")), **SETTINGS)


def test_other_files_or_settings_make_another_hash(file):
    first, second = read_prompts(file("p.txt", "one\n")), read_prompts(file("q.txt", "two\n"))
    sets = [
        scan_set(first, None, **SETTINGS),
        scan_set(second, None, **SETTINGS),
        scan_set(first, second, **SETTINGS),
        scan_set(first, None, **SETTINGS | {"guidance": 2.0}),
    ]
    assert len({s.content_hash for s in sets}) == 4


@pytest.mark.parametrize("change", [{"steps": 0}, {"guidance": -1.0}, {"guidance": float("nan")}])
def test_impossible_settings(change, file):
    with pytest.raises(UserError, match=f"`{next(iter(change))}`"):
        scan_set(read_prompts(file("p.txt", "one\n")), None, **SETTINGS | change)
