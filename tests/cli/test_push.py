"""``memdet push`` as a shell sees it."""

import pytest

from tests.helpers.runs import write_run
from tests.pushing.conftest import hub, nobody, server, writer

__all__ = ["hub", "nobody", "server", "writer"]  # fixtures


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "run", {"wen2024": [0.9, 0.1], "random": [0.2, 0.3]}, [1, 0], access={"random": "none"})


def test_a_run_and_a_set(cli, writer, run):
    code, out, err = cli("push", run, "--to", "somebody/scores", "--licence", "CC0-1.0", "-q")
    assert (code, err) == (0, "")
    assert out == f"{writer.address}/datasets/somebody/scores\n"
    assert (writer.pushed / "scores" / "run.json").read_bytes() == (run / "run.json").read_bytes()
    assert "license: cc0-1.0" in (writer.pushed / "scores" / "README.md").read_text()
    code, out, err = cli("push", "mixture-2d", "--to", "somebody/mixture", "--private", "-q")
    assert (code, err) == (0, "")
    assert writer.repositories["datasets/somebody/mixture"].private
    assert (writer.pushed / "mixture" / "croissant.json").is_file()


def test_nothing_is_uploaded_without_a_name(cli, writer, run):
    code, out, err = cli("push", run)
    assert code == 2
    assert "--to" in err
    assert writer.uploads == []


def test_refusals_are_one_line(refused, writer, run, tmp_path):
    refused("push", run, "--to", "scores", words=["--to 'scores'", "owner/name"])
    refused("push", run, "--to", "somebody/scores", "--offline", words=["--offline opens no connection"])
    refused("push", run, "--to", "somebody/scores", "--licence", "free", words=["--licence 'free'", "CC-BY-4.0"])
    refused("push", "mixture-3d", "--to", "somebody/m", words=["mixture-2d"])
    refused("push", "mixture-2d", "--to", "somebody/m", "--licence", "MIT", words=["leave --licence out"])
    refused("push", tmp_path, "--to", "somebody/m", words=["run.json"])
    assert writer.uploads == []


def test_without_a_token(refused, nobody, run):
    refused("push", run, "--to", "somebody/scores", words=["nobody is logged in", "hf auth login", "HF_TOKEN"])
    assert nobody.uploads == []
