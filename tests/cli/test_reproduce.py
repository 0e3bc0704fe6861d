"""``memdet reproduce``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from memdet.cli import reproduce
from studies.seed_paper import PARTS
from studies.seed_paper.figures import FIGURES

STORED = Path(__file__).resolve().parents[2] / "docs" / "figures" / "seed-paper.json"
COMMAND = ["reproduce", "seed-paper"]


def test_the_group_alone_shows_its_commands(cli):
    code, out, _ = cli("reproduce")
    assert code == 0
    for name in ("seed-paper", "cost-accuracy", "sd-scale"):
        assert name in out


def test_the_help_names_the_models(cli):
    out = cli(*COMMAND, "--help")[1]
    assert PARTS == ("toy-2d", "fashion-pixel", "tiny-sd-a")
    for name in PARTS:
        assert name in out


def test_without_studies_it_says_where_they_are(monkeypatch, refused, tmp_path):
    monkeypatch.setattr(reproduce, "repository", lambda: tmp_path)
    words = ["studies come with the repository", f"git clone {reproduce.REPOSITORY}", "memdet reproduce seed-paper"]
    refused(*COMMAND, words=words)
    refused("reproduce", words=words[:2])


def test_a_study_is_a_folder_with_a_command(monkeypatch, cli, tmp_path):
    (tmp_path / "studies" / "my_study").mkdir(parents=True)
    (tmp_path / "studies" / "no_study").mkdir()
    (tmp_path / "studies" / "my_study" / "command.py").write_text("raise NotImplementedError  # found, not imported")
    monkeypatch.setattr(reproduce, "repository", lambda: tmp_path)
    assert reproduce.study_names() == ["my-study"]
    code, _, err = cli("reproduce", "no-study")
    assert code == 2
    assert "no-study" in err


def test_memdet_imports_no_study():
    code = "import sys; from memdet.cli import reproduce; print([n for n in sys.modules if n.startswith('studies')])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.slow
def test_drawing_from_a_file_writes_everything(cli, tmp_path):
    out = tmp_path / "new" / "page"
    code, _, err = cli(*COMMAND, "--from", STORED, "--out", out)
    assert code == 0, err
    assert {path.name for path in (out / "figures").iterdir()} == {*FIGURES, "seed-paper.json"}
    assert (out / "figures" / "seed-paper.json").read_text() == STORED.read_text()
    assert (out / "seed-paper.md").read_text() == (STORED.parents[1] / "seed-paper.md").read_text()


@pytest.mark.slow
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


@pytest.fixture
def small_world(monkeypatch):
    """One whose models are closed forms; no spec names it."""
    from studies.seed_paper import worlds

    monkeypatch.setattr(worlds, "worlds", lambda: {"small": ["mixture-2d"], "twice": ["mixture-2d", "mixture-2d"]})


@pytest.mark.slow
def test_a_world_is_one_command_and_leaves_figures_and_other_worlds(cli, small_world, tmp_path):
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "seed-paper.json").write_text(STORED.read_text())
    code, _, err = cli(*COMMAND, "--world", "small", "--items", "4", "--times", "4", "--out", tmp_path)
    assert code == 0, err
    found = json.loads((figures / "seed-paper-small.json").read_text())
    data = found["models"]["mixture-2d"]["data"]
    assert data["labels"] == [1] * 4 + [0] * 4
    assert [place["t"] for place in data["places"]] == [981, 581, 201, 1]
    for place in data["places"]:  # one component under each condition
        alpha, sigma = place["alpha"], place["sigma"]
        wanted = [-(sigma**2) / (alpha**2 * tau**2 + sigma**2) for tau in (0.02, 1.0) for _ in range(4)]
        assert place["smallest"] == pytest.approx(wanted, rel=1e-3)
    other = json.dumps(found | {"world": "another"})
    (figures / "seed-paper-another.json").write_text(other)
    assert cli(*COMMAND, "--world", "small", "--items", "2", "--only", "mixture-2d", "--out", tmp_path)[0] == 0
    page = (tmp_path / "seed-paper.md").read_text()
    assert "| claim | when | number | another | small |" in page
    assert page.startswith(
        (STORED.parents[1] / "seed-paper.md").read_text().split("## The claims by world")[0].rstrip()
    )
    assert (figures / "seed-paper.json").read_text() == STORED.read_text()
    assert (figures / "seed-paper-another.json").read_text() == other
    assert not list(figures.glob("*.png"))


def test_two_sets_that_ask_one_model_the_same_are_refused(small_world, refused, tmp_path):
    words = ["mixture-2d and mixture-2d ask the same of mixture-2d"]
    refused(*COMMAND, "--world", "twice", "--out", tmp_path / "out", words=words, untouched=tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--items", "1"], ["--items 1"]),
        (["--only", "toy-3d"], ["--only 'toy-3d'", "toy-2d, fashion-pixel, tiny-sd-a"]),
        (["--from", "nowhere.json"], ["nowhere.json", "cannot be read"]),
        (["--from", __file__], ["test_reproduce.py", "no file of numbers"]),
        (["--from", STORED, "--only", "toy-2d"], ["--from", "--only"]),
        (["--from", STORED, "--world", "grey"], ["--from", "--world"]),
        (["--world", "gray"], ["--world 'gray'", "known worlds: ", "grey"]),
        (["--world", "grey", "--only", "toy-2d"], ["--only 'toy-2d'", "tiny-sd-a, tiny-sd-b"]),
        (["--times", "4"], ["--times", "--world"]),
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


@pytest.fixture
def scored(tmp_path):
    import numpy as np

    from tests.helpers.runs import write_run

    labels = [1] * 10 + [0] * 120
    scores = {"wen2024": np.arange(130.0)[::-1].copy(), "random": np.random.default_rng(0).random(130)}
    return write_run(tmp_path / "run", scores, labels, access={"random": "none"})


def test_cost_and_accuracy_of_a_run(cli, scored, tmp_path):
    out = tmp_path / "new" / "page"
    code, _, err = cli("reproduce", "cost-accuracy", "--from", scored, "--out", out)
    assert code == 0, err
    assert {path.relative_to(out).as_posix() for path in out.rglob("*.*")} == {
        "cost-accuracy.md",
        "figures/cost-accuracy.png",
    }
    page = (out / "cost-accuracy.md").read_text()
    assert f"--from {scored.as_posix()} --out docs" in page
    assert "|  | wen2024 | " in page


def test_cost_and_accuracy_needs_a_run_with_detectors(refused, scored, tmp_path):
    from tests.helpers.runs import write_run

    out = tmp_path / "out"
    command = ["reproduce", "cost-accuracy", "--out", out, "--from"]
    refused(*command, tmp_path / "none", words=["none"], untouched=out)
    controls = write_run(tmp_path / "controls", {"random": [0.1, 0.2]}, [0, 1], access={"random": "none"})
    refused(*command, controls, words=["controls", "there is no front to draw"], untouched=out)


def test_cost_and_accuracy_needs_matplotlib(monkeypatch, refused, scored, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    words = ["matplotlib", "pip install 'memdet[figures]'"]
    out = tmp_path / "out"
    refused("reproduce", "cost-accuracy", "--from", scored, "--out", out, words=words, untouched=out)
