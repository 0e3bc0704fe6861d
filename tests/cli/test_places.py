"""Paths as somebody types them, and where a run goes that names no place."""

import importlib
import json
import pkgutil
from pathlib import Path

import click
import pytest

import memdet
import memdet.cli
from memdet.cli import COMMANDS, options
from memdet.cli.reproduce import study_names
from memdet.errors import UserError


def every_command():
    """All commands and those below them, with the words that call them."""
    found = {}
    waiting = [((name,), importlib.import_module(f"memdet.cli.{name.replace('-', '_')}").command) for name in COMMANDS]
    waiting += [
        (("reproduce", name), importlib.import_module(f"studies.{name.replace('-', '_')}.command").command)
        for name in study_names()
    ]
    while waiting:
        words, command = waiting.pop()
        found[words] = command
        if isinstance(command, click.Group):
            waiting += [((*words, name), below) for name, below in command.commands.items()]
    return found


def test_every_path_of_every_command_is_one_kind():
    """An option that gives a command a path knows the home directory: none is another kind of path."""
    paths = set()
    for words, command in every_command().items():
        for parameter in command.params:
            assert not isinstance(parameter.type, click.Path | click.File), (words, parameter.name)
            assert parameter.metavar not in {"FILE", "DIR", "PATH", "RUN_DIR"} or isinstance(
                parameter.type, options.UserPath
            ), (words, parameter.name)
            if isinstance(parameter.type, options.UserPath):
                paths.add(parameter.name)
    assert {
        "out",
        "plugins",
        "files",
        "samples",
        "prompts_file",
        "reference_file",
        "memorized",
        "control",
        "runs",
    } <= paths


def test_no_module_of_the_command_line_makes_a_path_of_an_option_itself():
    for module in pkgutil.iter_modules(memdet.cli.__path__):
        text = (Path(memdet.cli.__path__[0]) / f"{module.name}.py").read_text()
        assert "click.Path(" not in text, module.name


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.slow
def test_the_home_directory_is_known_to_every_kind_of_path(cli, home, tmp_path):
    (home / "m.txt").write_text("One Two Three\n" * 3)
    (home / "c.tsv").write_text("caption\tn\n" + "one two three four\t1\n")
    code, _, err = cli("audit", "--memorized=~/m.txt", "--control=~/c.tsv", "--format=json", "--out=~/deep/audit.json")
    assert code == 0, err
    assert json.loads((home / "deep" / "audit.json").read_text())["n_positive"] == 3
    code, _, err = cli("run", "mixture-2d", "--detector", "random", "--quiet", "--seeds=1", "--out=~/runs/one")
    assert code == 0, err
    assert (home / "runs" / "one" / "scores.parquet").is_file()
    assert cli("report", "~/runs/one", "--format=csv", "--out=~/table.csv")[0] == 0
    assert (home / "table.csv").read_text().startswith("sample_set")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "mixture-2d", "--out", "taken"], ["--out taken is a file: name a directory"]),
        (["run", "mixture-2d", "--out", "taken/a/run"], ["--out taken/a/run: taken is a file", "another place"]),
        (["scan", "--model=m", "--prompts=p.txt", "--out=taken"], ["--out taken is a file: name a directory"]),
        (["zoo", "build", "toy-2d", "--out=taken/x"], ["--out taken/x: taken is a file"]),
        (["report", "nowhere", "--out=taken/x"], ["--out taken/x: taken is a file"]),
        (["audit", "mixture-2d", "--out=."], ["--out . is a directory: name a file in it"]),
        (["export", "mixture-2d", "--out=taken/x"], ["--out taken/x: taken is a file"]),
        (["run", "mixture-2d", "--out="], ["--out is empty"]),
        (["run", "mixture-2d", "--plugin="], ["--plugin is empty"]),
        (["run", "mixture-2d", "--out=~nobody_of_this_name/x"], ["--out ~nobody_of_this_name/x", "home directory"]),
        (["run", "--model=m", "--samples=~/none.csv"], ["home/none.csv does not exist"]),
        (["run", "./taken.csv"], ["taken.csv", "is a file of prompts", "--samples", "--model"]),
        (["run", "mixture-2d", "--column=a"], ["--column belongs to --samples"]),
        (["run", "mixture-2d", "--guidance=nan"], ["mixture-2d", "guidance=nan"]),
        (["run", "mixture-2d", "--steps=0"], ["--steps", "memdet run --help"]),
    ],
)
def test_what_can_be_no_place_is_told_before_the_work(arguments, words, refused, home):
    Path("taken").write_text("keep me")
    Path("taken.csv").write_text("prompt\na\n")
    refused(*arguments, words=words)
    assert Path("taken").read_text() == "keep me"


OWN = """\
import memdet

def model(scale):
    return memdet.ScoreModel.from_callable(
        lambda x, t: scale * x, shape=(2,), schedule=memdet.NoiseSchedule.vp([0.9, 0.5, 0.1])
    )

def one():
    return model(1.0)

def two():
    return model(2.0)
"""


@pytest.mark.slow
def test_two_models_on_one_file_of_samples_do_not_collide(cli, home):
    """Nor do two models of one name, other settings or other detectors; each command finds its own run again."""
    for place in ("nets", "others"):
        Path(place).mkdir()
        Path(place, "own.py").write_text(OWN)
    Path("mine.csv").write_text("prompt,memorized\na,1\nb,0\n")
    same = ["run", "--samples", "mine.csv", "--quiet", "--detector=hessian-trace", "--steps=2", "--model"]
    places = {
        "mine-own.py-one": ["nets/own.py:one"],
        "mine-own.py-two": ["nets/own.py:two"],
        "mine-own.py-one-2": ["others/own.py:one"],
        "mine-own.py-one-3": ["nets/own.py:one", "--steps=3"],
        "mine-own.py-one-4": ["nets/own.py:one", "--guidance=2"],
        "mine-own.py-one-5": ["nets/own.py:one", "--noise=per-item"],
        "mine-own.py-one-6": ["nets/own.py:one", "--detector=random"],
    }
    for _ in range(2):
        for place, arguments in places.items():
            code, _, err = cli(*same, *arguments)
            assert code == 0, err
            assert f"Run directory: runs/{place}\n" in err
    assert {path.name for path in Path("runs").iterdir()} == set(places)


def test_another_protocol_is_another_run_that_no_board_takes(cli, home, tmp_path):
    own = ["run", "mixture-2d", "--detector", "wen2024", "--quiet", "--seeds=2"]
    assert cli(*own)[0] == 0
    code, _, err = cli(*own, "--steps=7", "--guidance", "3")
    assert code == 0
    assert "runs/mixture-2d holds other models or protocols; this run goes to runs/mixture-2d-2" in err
    assert "steps 7 instead of" in err
    assert "guidance 3.0 instead of" in err
    for arguments in (own, [*own[:-1], "--seeds=1"], own):  # another number of noise seeds is another run too
        code, _, err = cli(*arguments)
        assert code == 0, err
        assert f"Run directory: runs/mixture-2d{'-3' if '--seeds=1' in arguments else ''}\n" in err
    first, second = (json.loads(Path("runs", name, "run.json").read_text()) for name in ("mixture-2d", "mixture-2d-2"))
    before, after = (run["settings"]["sample_sets"][0] for run in (first, second))
    assert (after["steps"], after["guidance"]) == (7, 3.0)
    assert after["content_hash"] != before["content_hash"]
    assert "mixture-2d" in json.dumps(second["messages"])
    assert "not the protocol of the sample set" in json.dumps(second["messages"])
    code, out, _ = cli("submit", "runs/mixture-2d-2", "--out", "entry")
    assert code == 1
    assert "steps is 7, its protocol says" in out
    assert "guidance is 3.0, its protocol says" in out
    assert not Path("entry").exists()
    code, _, err = cli("report", "runs", "--leaderboard")
    assert code == 2
    assert "differ in the items or protocol of mixture-2d v1" in err
    assert cli(*own, "--steps", str(before["steps"]), "--out", "runs/mixture-2d")[0] == 0, "the set's own protocol"


@pytest.mark.slow
def test_a_scan_opens_no_connection_when_told_so(refused, home, monkeypatch):
    import socket

    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: pytest.fail("a socket was opened"))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    Path("p.txt").write_text("a cat\n")
    words = ["nobody/no-such-model-here", "--offline"]
    refused("scan", "--model=nobody/no-such-model-here", "--prompts=p.txt", "--offline", words=words)
    assert not Path("runs").exists()


def test_a_scan_of_a_network_of_ones_own(cli, home):
    Path("own.py").write_text(
        "import torch, memdet\n"
        "def make_model():\n"
        "    embed = lambda texts: torch.tensor([float(len(text)) for text in texts])\n"
        "    return memdet.ScoreModel.from_callable(\n"
        "        lambda x, t, c: x + c[:, None], shape=(2,), embed=embed, null=torch.zeros(1),\n"
        "        schedule=memdet.NoiseSchedule.vp([0.9, 0.5, 0.1]), name='whatever')\n"
    )
    Path("p.tsv").write_text("caption\turl\naaa\tx\na\ty\naa\tz\n")
    arguments = ["scan", "--model=own.py:make_model", "--prompts=p.tsv", "--steps=2", "--seeds=1", "--top=0", "--quiet"]
    code, out, err = cli(*arguments, "--detector=wen2024", "--format=json")
    assert code == 0, err
    result = json.loads(out)
    assert [row["prompt"] for row in result["ranking"]] == ["aaa", "aa", "a"]
    assert [row["score"] for row in result["ranking"]] == pytest.approx([n * 2**0.5 for n in (3, 2, 1)])
    assert result["model"] == "own.py:make_model"
    assert Path("runs", "scan-p-own.py-make_model", "scan.json").is_file()


def test_a_run_below_a_file_is_refused_from_python_too(home):
    Path("taken").write_text("keep me")
    for place in ("taken", "taken/x"):
        with pytest.raises(UserError, match="taken.* is a file"):
            memdet.evaluate("random", "mixture-2d", seeds=1, out=place, progress=False)
