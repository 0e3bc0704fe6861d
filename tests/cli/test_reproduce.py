"""``memdet reproduce seed-paper``."""

import json
import sys
from pathlib import Path

import pytest

from memdet.cli.reproduce import PARTS
from memdet.reports import seed_paper
from memdet.reports.seed_figures import FIGURES

STORED = Path(__file__).resolve().parents[2] / "docs" / "figures" / "seed-paper.json"
COMMAND = ["reproduce", "seed-paper"]


def test_the_group_alone_shows_its_commands(cli):
    code, out, _ = cli("reproduce")
    assert code == 0
    assert "seed-paper" in out
    assert PARTS == seed_paper.PARTS


def test_drawing_from_a_file_writes_everything(cli, tmp_path):
    out = tmp_path / "new" / "page"
    code, _, err = cli(*COMMAND, "--from", STORED, "--out", out)
    assert code == 0, err
    assert {path.name for path in (out / "figures").iterdir()} == {*FIGURES, "seed-paper.json"}
    assert (out / "figures" / "seed-paper.json").read_text() == STORED.read_text()
    assert (out / "seed-paper.md").read_text() == (STORED.parents[1] / "seed-paper.md").read_text()


def test_measuring_one_model_keeps_the_others(cli, tmp_path):
    figures = tmp_path / "figures"
    figures.mkdir()
    stored = json.loads(STORED.read_text())
    (figures / "seed-paper.json").write_text(STORED.read_text())
    code, _, err = cli(*COMMAND, "--only", "toy-2d", "--items", "12", "--seed", "0", "--out", tmp_path)
    assert code == 0, err
    found = json.loads((figures / "seed-paper.json").read_text())
    assert found["parts"]["tiny-sd-a"] == stored["parts"]["tiny-sd-a"]
    assert found["parts"]["toy-2d"]["settings"]["draws"] == 240


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--items", "1"], ["--items 1"]),
        (["--only", "toy-3d"], ["--only 'toy-3d'", "toy-2d, fashion-pixel, tiny-sd-a"]),
        (["--from", "nowhere.json"], ["nowhere.json", "cannot be read"]),
        (["--from", __file__], ["test_reproduce.py", "no file of numbers"]),
        (["--from", STORED, "--only", "toy-2d"], ["--from", "--only"]),
    ],
)
def test_bad_input(arguments, words, refused, tmp_path):
    refused(*COMMAND, "--out", tmp_path / "out", *arguments, words=words, untouched=tmp_path / "out")


def test_without_matplotlib_nothing_is_measured(monkeypatch, refused, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ["matplotlib", "pip install 'memdet[figures]'"]
    refused(*COMMAND, "--out", tmp_path / "out", words=words, untouched=tmp_path / "out")


def test_an_output_that_is_no_directory(refused, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    refused(*COMMAND, "--from", STORED, "--out", file, words=["--out", "file"])
    assert file.read_text() == "mine"
