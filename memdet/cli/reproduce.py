"""``memdet reproduce``: the studies of a checkout, which are no part of the package."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import click

import memdet
from memdet.errors import UserError

REPOSITORY = "https://github.com/memdet/memdet"


def repository() -> Path:
    """The folder that memdet lies in; of a checkout its root, where ``studies`` is."""
    return Path(memdet.__file__).resolve().parents[1]


def study_names() -> list[str]:
    """Names of the studies that are here, sorted."""
    found = repository().glob("studies/*/command.py")
    return sorted(path.parent.name.replace("_", "-") for path in found)


class Studies(click.Group):
    """Finds each study by its folder, and imports its ``command.py`` when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the studies, sorted."""
        return study_names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a study's command.

        Raises:
            UserError: There are no studies here.
        """
        names = study_names()
        if not names:
            raise _no_studies(cmd_name)
        if cmd_name not in names:
            return None
        root = str(repository())
        if root not in sys.path:  # not every way to install a checkout puts it there
            sys.path.insert(0, root)
        command: click.Command = importlib.import_module(f"studies.{cmd_name.replace('-', '_')}.command").command
        return command


@click.group("reproduce", cls=Studies, invoke_without_command=True)
@click.pass_context
def command(ctx: click.Context) -> None:
    """Draw a paper's figures on the planted models, make published tables again, and the figures of the documents."""
    if ctx.invoked_subcommand is None:
        if not study_names():
            raise _no_studies("")
        click.echo(ctx.get_help())


def _no_studies(name: str) -> UserError:
    return UserError(
        f"studies come with the repository of memdet, not with the installed package: git clone {REPOSITORY}, and run "
        f"`pip install -e .` and `{f'memdet reproduce {name}'.strip()}` there"
    )
