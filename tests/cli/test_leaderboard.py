"""``memdet leaderboard``: the board, and a run of one's own on it."""

import json
import re

import numpy as np
import pytest

from memdet.leaderboard import cells, front_data
from memdet.samplesets import load_spec
from tests.helpers.pages import write_sets
from tests.helpers.runs import write_run

DETECTORS = {  # label: access, forwards, and by set how far it separates
    "chance": ("none", 0.0, {"first": 0.0, "second": 0.0}),
    "wen2024": ("score", 2.0, {"first": 2.0, "second": 2.0}),
    "webster2023": ("score", 1.0, {"first": 1.0, "second": 0.5}),
    "jeon2025": ("gradient", 4.0, {"first": 1.5, "second": 1.0}),
}


@pytest.fixture
def board(tmp_path, monkeypatch):
    write_sets(tmp_path / "board" / "run", ["first", "second"], DETECTORS)
    spec = load_spec("tiny-sd-a-verbatim")
    specs = {
        (name, 1): spec.model_copy(update={"id": name, "version": 1, "world": "w", "question": "verbatim"})
        for name in ("first", "second")
    }
    for module in (cells, front_data):
        monkeypatch.setattr(module, "spec_of", specs.get)
    return tmp_path / "board"


@pytest.fixture
def mine(tmp_path):
    found = {
        "mine": ("score", 3.0, {"first": 4.0, "second": 4.0}),
        "wen2024": ("score", 2.0, {"first": 1, "second": 1}),
    }
    write_sets(tmp_path / "mine", ["first", "second"], found)
    return tmp_path / "mine"


def front(page):
    data = json.loads(re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', page, re.DOTALL)[1])
    return {row["label"]: row for row in data["front"]["rows"]}


@pytest.mark.slow
def test_a_run_of_yours_is_marked_among_the_others(cli, board, mine):
    assert cli("leaderboard", board, "--quiet")[0] == 0
    before = front((board / "leaderboard.html").read_text("utf-8"))
    files = {path: path.read_bytes() for path in board.rglob("*") if path.is_file()}
    code, _, err = cli("leaderboard", board, "--with", mine)
    assert code == 0
    assert f"Leaderboard with yours: {mine / 'leaderboard.html'}" in err
    after = front((mine / "leaderboard.html").read_text("utf-8"))
    assert {label for label, row in after.items() if row.get("yours")} == {"mine"}
    assert set(after) == {*before, "mine"}
    assert after["mine"]["rank"][0] == 1
    assert after["wen2024"]["gain"][0] == before["wen2024"]["gain"][0]  # the board's own scores, not those of the run
    assert not any("yours" in row for row in before.values())
    assert files == {path: path.read_bytes() for path in board.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_it_writes_what_report_writes(cli, board, tmp_path):
    assert cli("leaderboard", board, "--out", tmp_path / "one", "--quiet")[0] == 0
    assert cli("report", board, "--leaderboard", "--out", tmp_path / "two", "--quiet")[0] == 0
    names = {"leaderboard.html", "leaderboard.json", "leaderboard.md"}
    assert {path.name for path in (tmp_path / "one").iterdir()} == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_what_cannot_stand_on_it(refused, board, tmp_path):
    labels, rng = np.repeat([1, 0], 20), np.random.default_rng(0)
    scores = {"wen2024": rng.normal(size=(40, 1))}
    known = write_run(tmp_path / "known", scores, labels, sample_set="first")
    refused("leaderboard", board, "--with", known, words=["on the board already", "--detector wen2024"])
    refused("leaderboard", board, "--with", known, "-d", "nobody", words=["nobody", "it has wen2024"])
    elsewhere = write_run(tmp_path / "elsewhere", {"mine": scores["wen2024"]}, labels, sample_set="third")
    refused("leaderboard", board, "--with", elsewhere, words=["no sample set in common", "third v1"])
    refused("leaderboard", tmp_path / "nothing", words=["nothing is no directory"])
    refused("leaderboard", board, "-d", "wen2024", words=["--with RUN_DIR"])
