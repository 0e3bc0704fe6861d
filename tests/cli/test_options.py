"""What commands share."""

from dataclasses import FrozenInstanceError, dataclass
from pathlib import Path

import click
import pytest
import torch

from memdet.cli import options
from memdet.cli.options import batch_size_of, device_of
from memdet.errors import UserError


@dataclass(frozen=True)
class Given:
    name: str
    names: tuple[str, ...]
    plugins: tuple[Path, ...]
    device: str
    dtype: str
    batch_size: str
    files: Path | None
    offline: bool
    form: str
    out: Path | None
    quiet: bool


@click.command("show")
@click.argument("name")
@options.detectors("all")
@options.plugins()
@options.device
@options.dtype
@options.batch_size("Items at once.")
@options.fetching
@options.form(["table", "json"])
@options.out()
@options.quiet
@options.into(Given)
def show(given: Given) -> Given:
    """Say it."""
    return given


def test_a_command_gets_its_options_in_one_object():
    given = show.main(["x"], standalone_mode=False)
    assert given == Given("x", (), (), "auto", "float32", "auto", None, False, "table", None, False)
    arguments = ["x", "--detector", "a", "--detector", "b@t=1", "--plugin", "p.py", "--device", "cpu"]
    arguments += ["--dtype", "float64", "--batch-size", "3", "--files", "d", "--offline"]
    arguments += ["--format", "json", "--out", "o", "--quiet"]
    names = ("a", "b@t=1")
    assert show.main(arguments, standalone_mode=False) == Given(
        "x", names, (Path("p.py"),), "cpu", "float64", "3", Path("d"), True, "json", Path("o"), True
    )
    with pytest.raises(FrozenInstanceError):
        given.name = "y"


def test_the_help_is_that_of_the_command():
    text = show.get_help(click.Context(show))
    assert "Say it." in text
    assert "[default: all]" in text
    for option in ("detector", "plugin", "device", "dtype", "batch-size", "files", "offline", "format", "out", "quiet"):
        assert text.count(f" --{option} ") == 1


@pytest.mark.parametrize(
    ("cuda", "mps", "found"), [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_takes_what_there_is(cuda, mps, found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device_of("auto") == found


def test_a_device_that_works_is_taken_as_it_is_named():
    assert device_of("cpu") == "cpu"


def test_batch_size():
    assert (batch_size_of("auto"), batch_size_of("8")) == (None, 8)
    for text in ("0", "-1", "1.5", "many", ""):
        with pytest.raises(UserError, match="neither a positive number nor auto"):
            batch_size_of(text)


def test_parameters_of_the_library_are_options_here(cli, monkeypatch):
    from memdet import doctor

    def broken(*, offline):
        raise UserError("`dry_run` or `other`: not both", parameters=("dry_run",))

    monkeypatch.setattr(doctor, "examine", broken)
    code, out, err = cli("doctor")
    assert (code, out, err) == (2, "", "memdet: --dry-run or `other`: not both\n")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["-d", "a,b"], ("a", "b")),
        (["-d", "a", "--detector", "b,c"], ("a", "b", "c")),
        (["-d", "a@x=1,y=2,b"], ("a@x=1,y=2", "b")),
        (["-d", "a@x=1, b@t=200,power=1 ,c"], ("a@x=1", "b@t=200,power=1", "c")),
        (["-d", "*,-a"], ("*", "-a")),
        (["-d", "a@x=1", "-d", "y=2"], ("a@x=1", "y=2")),
    ],
)
def test_lists_with_commas(given, names):
    assert show.main(["x", *given], standalone_mode=False).names == names


def test_short_options():
    given = show.main(["x", "-o", "o", "-q", "-d", "a"], standalone_mode=False)
    assert (given.out, given.quiet, given.names) == (Path("o"), True, ("a",))


def test_a_former_name_of_an_option_is_understood_and_not_shown():
    @click.command("measure")
    @options.sample_set("mixture-2d")
    def measure(reference):
        return reference

    assert measure.main([], standalone_mode=False) == "mixture-2d"
    for name in ("--set", "--sample-set"):
        assert measure.main([name, "x"], standalone_mode=False) == "x"
    text = measure.get_help(click.Context(measure))
    assert "--set SET" in text
    assert "--sample-set" not in text
