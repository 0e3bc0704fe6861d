"""What a spec may say, and how a mistake in it is explained."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from memdet.samplesets import (
    SampleSetSpec,
    json_schema,
    load_sample_set,
    load_spec,
    load_suite,
    sample_set_ids,
    specs_directory,
)

Fields = dict[str, Any]


def test_the_published_schema_is_current():
    published = json.loads((specs_directory() / "schema.json").read_text(encoding="utf-8"))
    assert published == json_schema(), "write json.dumps(json_schema(), indent=2) to datasets_spec/schema.json"


@pytest.mark.parametrize("name", sample_set_ids())
def test_every_spec_follows_the_schema_and_its_file_name(name: str):
    path = specs_directory() / f"{name}.yaml"
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    assert load_spec(name).id == name


def test_a_spec_is_frozen(spec: Fields):
    with pytest.raises(ValidationError, match="frozen"):
        SampleSetSpec.model_validate(spec).version = 4


SHA = "0" * 64
WRONG: list[tuple[str, Any]] = [
    ("id", "Not A Slug"),
    ("schema_version", 2),
    ("version", 0),
    ("version", "1"),
    ("version", True),
    ("title", "  "),
    ("task", "video"),
    ("protocol.scheduler", "ddpm"),
    ("protocol.steps", 0),
    ("protocol.steps", 1001),
    ("protocol.guidance", -0.1),
    ("protocol.guidance", float("nan")),
    ("protocol.seeds", 0),
    ("protocol.noise", "both"),
    ("columns.condition", "text"),
    ("columns.prompt", None),
    ("columns.label.positive", []),
    ("columns.label.negative", ["copied"]),
    ("blind_controls", {"prompt-length": 1.5}),
    ("assets", [{"name": "x", "address": "ftp://x", "status": "y"}]),
    ("source", {"kind": "bundled", "file": "../secret", "sha256": SHA}),
    ("source", {"kind": "bundled", "file": "/etc/passwd", "sha256": SHA}),
    ("source", {"kind": "zoo", "model": "../tiny", "file": "x", "sha256": SHA}),
    ("source", {"kind": "bundled", "file": "x.csv", "sha256": "abc"}),
    ("source", {"kind": "url", "url": "https://example.org/x.csv"}),
    ("source", {"kind": "hub", "repo": "name", "revision": "main", "file": "x", "sha256": SHA}),
    ("source", {"kind": "ftp"}),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_value_out_of_range_is_refused_with_its_field_and_line(
    field: str, value: Any, spec: Fields, write: Callable[..., Any], refused: Callable[..., str]
):
    part = spec
    *parents, last = field.split(".")
    for parent in parents:
        part = part[parent]
    part[last] = value
    path = write(spec)
    refused(lambda: load_spec(path), f"{path}, line ", "field '" + field.split(".")[0])


GOOD_SOURCES = [
    {"kind": "bundled", "file": "data/x.csv", "sha256": SHA},
    {"kind": "zoo", "model": "tiny-sd-a", "file": "x.parquet", "sha256": SHA},
    {"kind": "local", "path": "/absolute/x.csv", "sha256": SHA},
    {"kind": "url", "url": "https://example.org/x.csv", "sha256": SHA},
    {"kind": "url", "url": "https://example.org/x.csv", "sha256": SHA, "mirrors": ["https://mirror.org/x.csv"]},
    {"kind": "hub", "repo": "org/name", "revision": "main", "file": "x.csv", "sha256": SHA},
    {"kind": "manual", "file": "x.csv", "address": "https://example.org/x.csv"},
    {"kind": "files", "parts": [{"name": "one", "source": {"kind": "local", "path": "x.txt"}, "items": 2}]},
]


@pytest.mark.parametrize("source", GOOD_SOURCES, ids=lambda source: source["kind"])
def test_every_kind_of_source_is_read(source: Fields, spec: Fields):
    spec["source"] = source
    assert SampleSetSpec.model_validate(spec).source.model_dump(exclude_defaults=True) == source


def _all_fields(spec: Fields) -> Iterator[tuple[str, Fields, str, str]]:
    yield "", spec, "lable_rule", "label_rule"
    yield "protocol.", spec["protocol"], "step", "steps"
    yield "columns.", spec["columns"], "promt", "prompt"
    yield "columns.label.", spec["columns"]["label"], "positiv", "positive"
    yield "source.", spec["source"], "paht", "path"
    yield "assets.0.", spec["assets"][0], "mirror", "mirrors"


@pytest.mark.parametrize("index", range(6))
def test_an_unknown_field_is_named_with_the_nearest_known_one(
    index: int, spec: Fields, write: Callable[..., Any], refused: Callable[..., str]
):
    prefix, part, typo, known = list(_all_fields(spec))[index]
    part[typo] = part.pop(known, "x")  # renamed, so that the known field is missing too
    path = write(spec)
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if typo in text.split(":")[0].split())
    refused(lambda: load_spec(path), f"{path}, line {line}: unknown field '{prefix}{typo}'", f"did you mean {known}")


def test_a_field_like_no_other_is_answered_with_all_fields(
    spec: Fields, write: Callable[..., Any], refused: Callable[..., str]
):
    spec["protocol"]["zzz"] = 1
    refused(lambda: load_spec(write(spec)), "'protocol.zzz'", "known ones are scheduler, steps, guidance")


def test_a_missing_field_is_named(spec: Fields, write: Callable[..., Any], refused: Callable[..., str]):
    del spec["licence"], spec["citation"]
    refused(lambda: load_spec(write(spec)), "small.yaml", "field 'licence' is missing; add it", "(and 1 more)")
    spec["source"] = {"path": "x"}
    refused(lambda: load_spec(write(spec)), "field 'source' needs a kind: bundled")


BAD_YAML = {
    "title: [unclosed\n": ("line 2", "invalid YAML"),
    "id: a\ntitle: b: c\n": ("line 2", "invalid YAML"),
    "id: a\nid: b\n": ("line 2", "'id' is given twice"),
    "id: 2024-13-45\n": ("small.yaml", "invalid YAML"),
    "id: !!python/object:os.system {}\n": ("line 1", "invalid YAML"),
    "- a\n- b\n": ("expected fields", "found list; see datasets_spec/mixture-2d.yaml"),
    "": ("expected fields", "found NoneType"),
}


@pytest.mark.parametrize("text", BAD_YAML)
def test_invalid_yaml_is_located(text: str, write: Callable[..., Any], refused: Callable[..., str]):
    refused(lambda: load_spec(write(text)), "small.yaml", *BAD_YAML[text])


def test_a_spec_that_is_not_utf8_is_located(write: Callable[..., Any], refused: Callable[..., str]):
    path = write("id: a\n")
    path.write_bytes(b"id: a\ntitle: caf\xe9\n")
    refused(lambda: load_spec(path), f"{path}, line 2: byte 16", "save the file as UTF-8")


def test_world_and_question_are_not_hashed(spec: Fields, write: Callable[..., Any]):
    plain = load_sample_set(write(spec))
    placed = load_sample_set(write(spec | {"world": "grey", "question": "several-10"}))
    assert (placed.spec.world, placed.spec.question) == ("grey", "several-10")
    assert (plain.spec.world, plain.spec.question) == (None, None)
    assert placed.content_hash == plain.content_hash


def test_a_world_may_be_named_without_a_question(spec: Fields, write: Callable[..., Any]):
    assert load_spec(write(spec | {"world": "grey"})).question is None


def test_a_question_without_a_world_is_refused(spec: Fields, write: Callable[..., Any], refused: Callable[..., str]):
    path = write(spec | {"question": "verbatim"})
    refused(lambda: load_spec(path), f"{path}, line ", "field 'question'", "name the 'world' too")
    with pytest.raises(jsonschema.ValidationError, match="'world' is a dependency of 'question'"):
        jsonschema.Draft202012Validator(json_schema()).validate(spec | {"question": "verbatim"})


@pytest.mark.parametrize(
    "name",
    [name for suite in ("controlled", "headline") for name in load_suite(suite).sample_sets],
)
def test_every_controlled_set_is_of_a_world(name: str):
    assert load_spec(name).world is not None


@pytest.mark.parametrize("field", ["world", "question"])
def test_worlds_and_questions_are_slugs(
    field: str, spec: Fields, write: Callable[..., Any], refused: Callable[..., str]
):
    spec |= {"world": "grey", "question": "verbatim"}
    refused(lambda: load_spec(write(spec | {field: "Ten images"})), f"field '{field}'")
