"""``memdet export``."""

import hashlib
import json

import pytest


def test_croissant_on_the_screen(cli):
    code, out, _ = cli("export", "mixture-2d")
    assert code == 0
    assert json.loads(out)["name"] == "mixture-2d"


def test_card_on_the_screen(cli):
    assert "# mixture-2d v1" in cli("export", "mixture-2d", "--format", "dataset-card")[1]


def test_directory_is_whole(cli, tmp_path):
    code, out, _ = cli("export", "tiny-sd-a-narrow", "--out", tmp_path / "deep" / "set")
    assert code == 0
    directory = tmp_path / "deep" / "set"
    assert {path.name for path in directory.iterdir()} == {"test.parquet", "dev.parquet", "croissant.json", "README.md"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["set"]
    for file in json.loads((directory / "croissant.json").read_text())["distribution"]:
        assert hashlib.sha256((directory / file["contentUrl"]).read_bytes()).hexdigest() == file["sha256"]
        assert str(directory / file["name"]) in out


@pytest.mark.parametrize("kind", ["directory", "file"])
def test_an_existing_place_is_left_alone(kind, refused, tmp_path):
    out = tmp_path / "taken"
    out.mkdir() if kind == "directory" else out.write_text("keep me")
    refused("export", "mixture-2d", "--out", out, words=["taken", "new directory"])
    assert not list(out.iterdir()) if kind == "directory" else out.read_text() == "keep me"


def test_below_a_file(refused, tmp_path):
    (tmp_path / "taken").write_text("keep me")
    refused("export", "mixture-2d", "--out", tmp_path / "taken" / "set", words=["taken"])


def test_unknown_set(refused):
    refused("export", "mixture-3d", words=["mixture-2d"])
