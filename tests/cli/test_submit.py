"""``memdet submit``."""

import json
import shutil

import pytest


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    from memdet.cli import main

    directory = tmp_path_factory.mktemp("runs") / "mine"
    with pytest.raises(SystemExit) as stop:
        main(["run", "mixture-2d", "--detector", "wen2024", "--quiet", "--out", str(directory)])
    assert stop.value.code == 0
    return directory


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A good run beside an empty directory results."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    return shutil.copytree(made, tmp_path / "mine")


def test_a_good_entry_is_packed(cli, run, tmp_path):
    code, out, err = cli("submit", run)
    assert code == 0, out
    assert err == ""
    entry = tmp_path / "results" / "oracle" / "mine"
    assert {path.name for path in entry.iterdir()} == {"run.json", "scores.parquet"}
    assert all(path.read_bytes() == (run / path.name).read_bytes() for path in entry.iterdir())
    assert "failed" not in out
    assert "memdet leaderboard" in out
    assert "  mixture-2d v1, wen2024: AUROC 1.000 [" in out


def test_a_packed_entry_is_checked_where_it_is(cli, run, tmp_path):
    cli("submit", run)
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = cli("submit", tmp_path / "results" / "oracle" / "mine")
    assert code == 0
    assert "The entry is good" in out
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.slow
def test_its_plugin_goes_with_it(cli, run, tmp_path):
    plugin = tmp_path / "extra.py"
    plugin.write_text(
        "from memdet import Detector, DetectorInfo\n"
        "class Extra(Detector):\n"
        "    info = DetectorInfo(name='extra', title='', access='score', cost='none')\n"
        "    def score(self, probe):\n"
        "        raise ValueError('not used')\n"
    )
    assert cli("submit", run, "--plugin", plugin, "--out", tmp_path / "entry")[0] == 0
    assert (tmp_path / "entry" / "extra.py").read_text() == plugin.read_text()


def test_an_entry_with_a_mistake_is_not_packed(cli, run, tmp_path):
    content = json.loads((run / "run.json").read_text())
    content["settings"]["sample_sets"][0]["content_hash"] = "0" * 64
    (run / "run.json").write_text(json.dumps(content))
    code, out, err = cli("submit", run)
    assert code == 1
    assert [line for line in out.splitlines() if line.startswith("  failed")]
    assert err.strip() == "1 check failed; nothing was packed"
    assert not list((tmp_path / "results").iterdir())


def test_an_entry_of_that_name_is_left_alone(cli, run, tmp_path):
    taken = tmp_path / "results" / "oracle" / "mine"
    taken.mkdir(parents=True)
    (taken / "keep").write_text("me")
    code, _, err = cli("submit", run)
    assert code == 2
    assert "exists" in err
    assert [path.name for path in taken.iterdir()] == ["keep"]


def test_outside_of_a_clone(cli, run, tmp_path):
    (tmp_path / "results").rmdir()
    code, _, err = cli("submit", run)
    assert code == 2
    assert "clone" in err
    assert "--out" in err


def test_no_directory(cli, tmp_path):
    code, _, err = cli("submit", tmp_path / "nowhere")
    assert code == 2
    assert "nowhere" in err
    assert len(err.strip().splitlines()) == 1


def test_no_run(cli, tmp_path):
    code, out, _ = cli("submit", tmp_path)
    assert code == 1
    assert "run.json is missing" in out
