"""Options that several commands have, and how a command reads them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import click

from memdet.cli.completion import detector_names, offered, set_names, suite_names
from memdet.cli.view import view as view
from memdet.errors import UserError
from memdet.io_utils import file_above

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
R = TypeVar("R")

DTYPES = ("float32", "float64", "bfloat16", "float16")


class UserPath(click.ParamType):  # type: ignore[type-arg]  # generic in new versions of click alone
    """A path as somebody types it, for every option and argument that is one.

    ``~`` is the home directory, also in ``--out=~/x``, where no shell says so. The path of what a command will write is
    looked at before the work: nothing can be made below a file.

    Args:
        made: What the command makes there: a ``file``, a ``directory``, or ``either``; None where it reads.
        run: Whether it is a run directory, which may lie at an address: one that is made stays a text, and of one that
            is read a copy is fetched.
    """

    name = "path"

    def __init__(self, made: Literal["file", "directory", "either"] | None = None, *, run: bool = False) -> None:
        self._made, self._run = made, run

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, expanded.

        Raises:
            UserError: It is empty, names an unknown user, or is a place where the command can write nothing.
        """
        option = param.opts[-1] if isinstance(param, click.Option) else param.human_readable_name if param else "path"
        if not str(value):
            raise UserError(f"{option} is empty: name a file or a directory")
        if "://" in str(value) and (self._run or self._made is not None):
            value = self._at_address(str(value), option)
            if isinstance(value, str):
                return value
        try:
            path = Path(value).expanduser()
        except RuntimeError:
            raise UserError(f"{option} {value}: the home directory of that user is not known; write it out") from None
        if self._made is not None:
            self._check(path, option)
        return path

    def _at_address(self, value: str, option: str) -> str | Path:
        """What an address stands for: the address itself where a run is made, else a path on this machine."""
        from memdet.results.remote import fetched, place_of

        if not self._run:
            raise UserError(f"{option} {value} is an address: name a place on this machine")
        place = place_of(value)
        return fetched(place) if isinstance(place, str) and self._made is None else place

    def _check(self, path: Path, option: str) -> None:
        if (above := file_above(path)) is not None:
            raise UserError(f"{option} {path}: {above} is a file, and nothing can lie below it; name another place")
        if self._made == "directory" and path.exists() and not path.is_dir():
            raise UserError(f"{option} {path} is a file: name a directory")
        if self._made == "file" and path.is_dir():
            raise UserError(f"{option} {path} is a directory: name a file in it")


def into(cls: Callable[..., T]) -> Callable[[Callable[[T], R]], Callable[..., R]]:
    """Give a command all its options as one object; stands below the options.

    Args:
        cls: A frozen dataclass whose fields have the names of the parameters.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Given:
        ...     quiet: bool
        >>> @click.command("show")
        ... @quiet
        ... @into(Given)
        ... def show(given: Given) -> bool:
        ...     return given.quiet
        >>> show.main(["--quiet"], standalone_mode=False)
        True
    """

    def decorate(function: Callable[[T], R]) -> Callable[..., R]:
        @functools.wraps(function)
        def command(**options: Any) -> R:
            return function(cls(**options))

        return command

    return decorate


class Renamed(click.Option):
    """An option that had another name: the help shows that of today, and both are understood.

    Args:
        former: What it was called.
    """

    def __init__(self, *args: Any, former: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._former = list(former)

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Take the former names too."""
        known, self.opts = self.opts, [*self.opts, *self._former]
        super().add_to_parser(parser, ctx)
        self.opts = known


def split_names(given: Sequence[str]) -> tuple[str, ...]:
    """Names of a list with commas, of which the options of a detector have some too.

    A piece is an option of the name before it where it holds an equals sign and no ``@`` before that.

    Example:
        >>> split_names(["wen2024,jeon2025@t=200,power=1", "*,-random"])
        ('wen2024', 'jeon2025@t=200,power=1', '*', '-random')
    """
    names: list[str] = []
    for text in given:
        first = len(names)
        for piece in text.split(","):
            is_option = "=" in piece and "@" not in piece.partition("=")[0]
            if is_option and len(names) > first and "@" in names[-1]:
                names[-1] = f"{names[-1]},{piece.strip()}"
            else:
                names.append(piece.strip())
    return tuple(names)


def _split(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    return split_names(given)


def names_of(*decls: str, text: str, metavar: str = "NAME", kind: Callable[[], Any]) -> Callable[[F], F]:
    """An option that takes names, several with commas or said several times."""
    complete = offered(kind, listed=True)
    return click.option(*decls, multiple=True, metavar=metavar, help=text, callback=_split, shell_complete=complete)


def sample_sets(*, required: bool = False, several: bool = False, suites: bool = True) -> Callable[[F], F]:
    """The argument ``SET``, as ``spec`` or ``specs``: an id, or the path of a spec.

    Args:
        required: Whether the command needs one.
        several: Whether it takes several.
        suites: Whether the name of a suite is understood too.
    """
    metavar = ("SET" if required else "[SET]") + ("..." if several else "")
    complete = offered(set_names, *([suite_names] if suites else []))
    name, nargs = ("specs", -1) if several else ("spec", 1)
    return click.argument(name, metavar=metavar, required=required, nargs=nargs, shell_complete=complete)


def sample_set(default: str) -> Callable[[F], F]:
    """``--set``, as ``reference``: a sample set where no argument is one; ``--sample-set`` before."""
    return click.option(
        "--set",
        "reference",
        metavar="SET",
        default=default,
        show_default=True,
        help="A sample set, whose items and protocol are taken.",
        cls=Renamed,
        former=["--sample-set"],
        shell_complete=offered(set_names),
    )


def suite(text: str) -> Callable[[F], F]:
    """``--suite``, as ``suite``."""
    return click.option("--suite", metavar="NAME", help=text, shell_complete=offered(suite_names))


def detectors(
    default: str | None = None, text: str = "name or name@option=value; several with commas, or repeated."
) -> Callable[[F], F]:
    """``--detector``, as ``names``.

    Args:
        default: What is taken without it, in words; nothing is said of it if not given.
        text: What else the help says.
    """
    told = text if default is None else f"{text}  [default: {default}]"
    return names_of("-d", "--detector", "names", text=told, kind=detector_names)


def plugins(text: str = "Python file with detectors.") -> Callable[[F], F]:
    """``--plugin``, as ``plugins``."""
    return click.option("--plugin", "plugins", type=UserPath(), multiple=True, help=text)


def form(formats: Sequence[str], default: str = "table", text: str | None = None) -> Callable[[F], F]:
    """``--format``, as ``form``: one of some names that are known before anything is imported."""
    kind = click.Choice(list(formats))
    return click.option("--format", "form", type=kind, default=default, show_default=True, help=text)


def open_form(text: str) -> Callable[[F], F]:
    """``--format``, as ``form``, of a command that checks the name itself: only what draws knows its formats."""
    return click.option("--format", "form", default="table", show_default=True, help=text)


def check_form(given: str, formats: Collection[str]) -> None:
    """Refuse a format that :func:`open_form` let through.

    Raises:
        UserError: It is none of them.
    """
    if given not in formats:
        raise UserError(f"--format {given!r} is not known: {', '.join(formats)}")


def out(
    text: str = "Write to a file instead of the screen.",
    default: Path | None = None,
    made: Literal["file", "directory", "either"] = "file",
    *,
    run: bool = False,
) -> Callable[[F], F]:
    """``--out``, as ``out``: a file or a directory, as ``made`` says; with ``run`` a run directory, or its address."""
    kind, shown = UserPath(made, run=run), default is not None
    return click.option("-o", "--out", metavar="PATH", type=kind, default=default, show_default=shown, help=text)


def device(command: F) -> F:
    """``--device``, as ``device``; :func:`device_of` reads it."""
    return click.option("--device", default="auto", show_default=True, help="cpu, cuda, cuda:1, mps.")(command)


def dtype(command: F) -> F:
    """``--dtype``, as ``dtype``: the name of a type of torch."""
    return click.option("--dtype", type=click.Choice(DTYPES), default="float32", show_default=True)(command)


def batch_size(text: str) -> Callable[[F], F]:
    """``--batch-size``, as ``batch_size``; :func:`batch_size_of` reads it."""
    return click.option("--batch-size", default="auto", show_default=True, help=text)


def fetching(command: F) -> F:
    """``--files`` and ``--offline``, as ``files`` and ``offline``: for a :class:`memdet.samplesets.Fetcher`."""
    files = click.option("--files", type=UserPath(), metavar="DIR", help="Your copies of files that specs fetch.")
    return files(offline("Open no connection; what is fetched must be cached or in --files.")(command))


def offline(text: str) -> Callable[[F], F]:
    """``--offline``, as ``offline``."""
    return click.option("--offline", is_flag=True, help=text)


def column(text: str) -> Callable[[F], F]:
    """``--column``, as ``column``: of the prompts in files of one's own."""
    return click.option("--column", metavar="NAME", help=f"{text}  [default: prompt, caption or text]")


def training_images(*, required: bool = False, text: str = "") -> Callable[[F], F]:
    """``--training-images``, as ``training_images``: a folder.

    Args:
        required: Whether the command needs it.
        text: What else the help says.
    """
    told = f"Folder of the images that the model was trained on: png, jpg, webp, sub-folders too.{text and ' ' + text}"
    return click.option("--training-images", type=UserPath(), metavar="DIR", required=required, help=told)


def steps(text: str, default: int | None = None) -> Callable[[F], F]:
    """``--steps``, as ``steps``."""
    kind, shown = click.IntRange(min=1), default is not None
    return click.option("--steps", type=kind, default=default, show_default=shown, help=text)


def guidance(text: str, default: float | None = None) -> Callable[[F], F]:
    """``--guidance``, as ``guidance``; the protocol refuses what is no guidance."""
    return click.option("--guidance", type=float, default=default, show_default=default is not None, help=text)


def loading(command: F) -> F:
    """How ``--model`` is loaded, as ``loading``: a :class:`~memdet.models.load_options.LoadOptions`."""
    texts = {
        "--revision": ("NAME", "Branch, tag or commit of a hub model."),
        "--subfolder": ("NAME", "Folder of the directory or repository in which the model lies."),
        "--base": (
            "DIR_OR_HUB_ID",
            "The whole model, where --model is a part: the unet of a fine-tune, or one file.",
        ),
        "--prediction-type": ("TYPE", "eps, v, x0 or flow, where the model's files say it wrongly."),
    }
    several = {
        "--lora": ("FILE[:SCALE]", "Put on --model and fused; can be repeated. none: leave out what lies beside it."),
        "--textual-inversion": ("FILE[:TOKEN]", "Learned tokens for prompts; can be repeated. none: as above."),
    }

    @functools.wraps(command)
    def load(**given: Any) -> Any:
        from memdet.models.load_options import OPTIONS, LoadOptions

        chosen = LoadOptions(**{name: given.pop(name) for name in OPTIONS})
        return command(**given, loading=chosen)

    with_options: Any = load
    for name, (metavar, text) in reversed([*texts.items(), *several.items()]):
        with_options = click.option(name, metavar=metavar, multiple=name in several, help=text)(with_options)
    return cast(F, with_options)


def quiet(command: F) -> F:
    """``--quiet``, as ``quiet``."""
    return click.option("-q", "--quiet", is_flag=True, help="No progress bars, and no word of what is done.")(command)


def batch_size_of(text: str) -> int | None:
    """Items at once; None for ``auto``.

    Raises:
        UserError: Neither a positive number nor ``auto``.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--batch-size {text!r} is neither a positive number nor auto")
    return int(text)


def device_of(name: str) -> str:
    """A device that works here; ``auto`` takes CUDA where it is, then MPS, else the CPU.

    Raises:
        UserError: It does not work.
    """
    from memdet.models.device import device_named

    return device_named(name)
