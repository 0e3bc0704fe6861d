"""Runs that somebody edited: each is read, or refused in one line that names file and field."""

import copy
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from memdet.errors import UserError
from memdet.results import Manifest, Run
from memdet.tables import FORMATS, rows_of
from tests.helpers.runs import read_manifest
from tests.helpers.runs import write_run as write

WRONG = [
    None,
    [],
    {},
    "",
    -1,
    1.5,
    True,
    [1],
    {"a": [1]},
    10**30,
    float("nan"),
    float("inf"),
    "<b>|\n\x1b[2J",
    "\ud800",
]
LABELS = [1, 1, 0, 0]
SCORES = np.array([[5.0, 4.0], [4.0, 4.0], [1.0, 2.0], [3.0, 1.0]])


@pytest.fixture
def stranger(tmp_path):
    """A run without checksums, of two detectors and two seeds, with all that a manifest may say."""
    path = write(tmp_path / "run", {"good": SCORES, "bad": -SCORES}, LABELS, seeds=(0, 1), tolerances={"good": 0.1})
    content = json.loads(Manifest.model_validate(read_manifest(path)).model_dump_json())
    one = {"started": "2026", "seconds": 1.0, "python": "3", "platform": "x", "processor": "y", "workers": 1}
    content |= {"seconds": {"made": {"good": 1.0}}, "messages": {"made": {"good": ["it"]}}, "halved": {"made": 2}}
    content |= {"packages": {"torch": "2"}, "calls": [one], "loading": {"m": {"lora": ["x"]}}, "seconds_total": 1.0}
    del content["files"]
    return path, content


def places(content, above=()):
    for name, value in content.items() if isinstance(content, dict) else enumerate(content):
        yield (*above, name)
        if isinstance(value, dict | list):
            yield from places(value, (*above, name))


def put(content, place, value):
    for name in place[:-1]:
        content = content[name]
    content[place[-1]] = value


def refusal(path) -> str:
    """What is said of a run; empty where its table can be drawn."""
    try:
        rows = rows_of(Run.load(path))
        for drawn in FORMATS.values():
            drawn(rows).encode()
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_any_value_of_any_field_is_read_or_refused(stranger):
    """Four of the values for each field, so that each comes to many fields."""
    path, whole = stranger
    found = []
    for number, place in enumerate(places(whole)):
        for index in range(4):
            content, value = copy.deepcopy(whole), WRONG[(3 * number + 5 * index) % len(WRONG)]
            put(content, place, value)
            (path / "run.json").write_text(json.dumps(content))
            told = refusal(path)
            found.append(bool(told))
            assert not {"\n", "\x1b"} & set(told.encode().decode()), (place, value)
            assert not told or str(path) in told, (place, value)
    assert 0.2 < np.mean(found) < 1


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (
            ("settings", "sample_sets", 0, "id"),
            ["made"],
            "field settings.sample_sets.0.id: Input should be a valid str",
        ),
        (("settings", "sample_sets", 0, "seeds"), {"n": 2}, "field settings.sample_sets.0.seeds: Input should be"),
        (("settings", "sample_sets", 0, "seeds"), 10**9, "field settings.sample_sets.0.seeds: Input should be less"),
        (
            ("settings", "sample_sets", 0, "seeds"),
            1,
            "scores.parquet is damaged: it has 2 seeds of made, run.json says 1",
        ),
        (
            ("settings", "sample_sets", 0, "noise"),
            "loud",
            "field settings.sample_sets.0.noise: Input should be 'shared'",
        ),
        (("settings", "sample_sets", 0, "dtype"), "nn", "field settings.sample_sets.0.dtype: String should match"),
        (("settings", "sample_sets", 0, "guidance"), float("nan"), "guidance: Input should be a finite number"),
        (("settings", "sample_sets", 0, "version"), 2, "it has rows of made v1, run.json says v2"),
        (("settings", "detectors", 0, "access"), "root", "field settings.detectors.0.access: Input should be 'none'"),
        (("settings", "detectors", 0, "version"), 2, "made v1 has rows of good in version 1, run.json says 2"),
        (("settings", "detectors", 0, "label"), "", "field settings.detectors.0.label: String should have at least 1"),
        (
            ("settings", "detectors", 0, "label"),
            "bad",
            "run.json is damaged: the run names detector bad more than once",
        ),
        (("settings", "detectors"), 3, "field settings.detectors: Input should be a valid list"),
        (("seconds", "made", "good"), -1.0, "field seconds.made.good: Input should be greater than or equal to 0"),
        (("messages", "made", "good"), "it", "field messages.made.good: Input should be a valid list"),
        (("messages", "made", "good"), ["\ud800"], "it holds half a character, which is no text"),
        (("started",), 5, "field started: Input should be a valid string"),
        (("finished",), "yes", "field finished: Input should be a valid boolean"),
    ],
)
def test_a_wrong_field_is_named(place, value, words, stranger):
    path, content = stranger
    put(content, place, value)
    (path / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError) as caught:
        Run.load(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("entries", ["sample_sets", "detectors"])
def test_what_is_named_has_rows(entries, stranger):
    path, content = stranger
    more = copy.deepcopy(content["settings"][entries][0])
    more["id" if entries == "sample_sets" else "label"] = "more"
    content["settings"][entries].append(more)
    (path / "run.json").write_text(json.dumps(content))
    with pytest.raises(
        UserError, match=r"scores\.parquet is damaged: it has no rows of .* more, which run\.json names"
    ):
        Run.load(path)


@pytest.mark.parametrize("data", [b"\xff\xfe{}", b"\x80", b"{\x00}", b'{"schema_version": 2, "settings": "\xff"}'])
def test_bytes_that_are_no_text(data, stranger):
    (stranger[0] / "run.json").write_bytes(data)
    with pytest.raises(UserError, match=r"run\.json is damaged"):
        Run.load(stranger[0])


def column(name, values):
    return lambda table: table.set_column(table.schema.get_field_index(name), name, values(len(table)))


def no_text(n):
    buffers = [None, pa.py_buffer(np.arange(n + 1, dtype=np.int32)), pa.py_buffer(b"\xff" * n)]
    return pa.Array.from_buffers(pa.string(), n, buffers)


@pytest.mark.parametrize("name", ["sample_set", "item_id", "cluster", "stratum", "detector", "status"])
@pytest.mark.parametrize("values", [no_text, lambda n: pa.array([["x"]] * n), lambda n: pa.array([{"a": 1}] * n)])
def test_columns_of_something_else(name, values, stranger):
    path, _ = stranger
    table = pq.read_table(path / "scores.parquet")
    pq.write_table(column(name, values)(table), path / "scores.parquet")
    with pytest.raises(UserError, match=r"scores\.parquet is damaged") as caught:
        Run.load(path)
    assert "\n" not in str(caught.value)


ITEMS = {
    "an item is missing": (lambda t: t[1:], "it lacks item item-000 of made, which has scores"),
    "an item twice": (lambda t: pa.concat_tables([t, t[:1]]), "it has 5 rows of 4 items"),
    "no condition": (column("condition", lambda n: pa.nulls(n, pa.string())), "condition is missing in a row"),
    "no text": (column("condition", no_text), "Invalid UTF8"),
    "numbers": (column("item_id", lambda n: pa.array([[1]] * n)), ""),
    "a column less": (lambda t: t.drop_columns(["model"]), ""),
}


@pytest.mark.parametrize("name", ITEMS)
def test_items_that_do_not_hold(name, stranger):
    path, _ = stranger
    change, words = ITEMS[name]
    ids = [f"item-{number:03d}" for number in range(4)]
    columns = {"sample_set": ["made"] * 4, "item_id": ids, "condition": ids, "model": ["made"] * 4}
    pq.write_table(pa.table(columns), path / "items.parquet")
    assert Run.load(path).sources["made"].condition == dict(zip(ids, ids, strict=True))
    pq.write_table(change(pa.table(columns)), path / "items.parquet")
    with pytest.raises(UserError, match=r"items\.parquet is damaged") as caught:
        _ = Run.load(path).sources
    assert words in str(caught.value)


def test_checksums_lose_their_names_together_or_not_at_all(whole):
    """A run of an older memdet has neither; of one alone the other was lost."""
    content = read_manifest(whole)
    for name in ("files", "checksum"):
        other = {key: value for key, value in content.items() if key != name}
        (whole / "run.json").write_text(json.dumps(other))
        with pytest.raises(UserError, match=rf"run\.json lacks {name}"):
            Run.load(whole)
        del other["files" if name == "checksum" else "checksum"]
        (whole / "run.json").write_text(json.dumps(other))
        assert Run.load(whole).n_scores == 800


@pytest.mark.parametrize("name", ["scores.parquet", "items.parquet"])
def test_another_file_than_was_written_is_named(name, whole):
    table = pq.read_table(whole / name)
    pq.write_table(table, whole / name, compression="gzip")  # the same rows
    with pytest.raises(UserError, match=f"{name} is damaged: its SHA-256 is not the one that its run.json states"):
        Run.load(whole)


def test_a_manifest_may_be_laid_out_anew(whole):
    content = read_manifest(whole)
    (whole / "run.json").write_text(json.dumps(dict(reversed(content.items()))))
    assert Run.load(whole).n_scores == 800
    content["settings"]["device"] = "cuda"
    (whole / "run.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"run\.json is damaged: it is not what memdet wrote there"):
        Run.load(whole)
