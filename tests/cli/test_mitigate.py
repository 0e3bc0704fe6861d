"""``memdet mitigate`` says what is wrong before it computes."""

import json

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["name one sample set", "--suite mitigation"]),
        (["tiny-sd-a-verbatim", "--suite", "mitigation"], ["name one sample set"]),
        (["tiny-sd-a-verbatim", "--method", "sail"], ["unknown mitigation 'sail'", "sail2025"]),
        (["tiny-sd-a-verbatim", "--items", "1000"], ["--items is 1000", "tiny-sd-a-verbatim has"]),
        (["tiny-sd-a-verbatim", "--format", "csv"], ["--format 'csv' is not known: table, markdown, json"]),
        (["mixture-2d"], ["mixture-2d: nothing says which images"]),
        (["--suite", "mitigation", "--out", "x"], ["--out is the directory of one sample set"]),
    ],
)
def test_wrong_usage(refused, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    refused("mitigate", *arguments, words=words, untouched=tmp_path / "runs")


def test_a_suite_of_mitigations_is_none_of_detectors(refused):
    refused("run", "--suite", "mitigation", words=["lists mitigations", "`memdet mitigate --suite mitigation`"])


def test_mitigations_are_listed(cli):
    rows = json.loads(cli("list", "mitigations", "--format", "json")[1])
    assert [row["name"] for row in rows[:4]] == ["lower-guidance", "none", "other-caption", "reseed"]
    assert {"sail2025", "wen2024-mitigation"} <= {row["name"] for row in rows}


@pytest.mark.slow
def test_two_items_of_each_label(cli, tmp_path):
    """The table, in the end, from weights that ship with memdet; the same command reads it again."""
    arguments = ["tiny-sd-a-verbatim", "--method", "jain2025-static", "--items", "2", "--seeds", "2", "--steps", "2"]
    arguments = ["mitigate", *arguments, "--out", tmp_path / "run", "--quiet"]
    code, out, _ = cli(*arguments)
    assert code == 0
    assert "2 memorized captions and 2 ordinary, 2 noise seeds" in out
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("jain2025-static") == 2
    page = (tmp_path / "run" / "mitigation.html").read_text(encoding="utf-8")
    assert page.count("Training image") == 2  # of the memorized captions
    assert page.count("Generation with jain2025-static") == 4
    assert json.loads(cli(*arguments, "--format", "json")[1])["seeds"] == 2
