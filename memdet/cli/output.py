"""Where commands write what they would print, and how they say what they do."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from memdet.errors import UserError
from memdet.io_utils import printable, write_text


def show(text: str, out: Path | None, *, quiet: bool = False) -> None:
    """Print, or write to a file, of which one line tells."""
    if out is None:
        click.echo(text)
    elif out.is_dir():
        raise UserError(f"--out {out} is a directory: name a file in it")
    else:
        write_text(out, text + "\n")
        wrote(out, quiet=quiet)


def doing(text: str, *, quiet: bool = False) -> None:
    """Say to who looks on what is done, before what takes more than two seconds.

    A log is told nothing: it wants what was found.

    Args:
        text: Without a stop.
        quiet: Whether nothing shall be said.
    """
    if not quiet and sys.stderr.isatty():
        click.echo(f"memdet: {printable(text)} ...", err=True)


def wrote(path: Path | str, what: str = "", *, follow: str = "", quiet: bool = False) -> None:
    """Say on standard error what was written, and which command goes on from there.

    Args:
        path: File or directory, or the address of one.
        what: What it is; nothing is said of it if not given.
        follow: The next command.
        quiet: Whether nothing shall be said.
    """
    if quiet:
        return
    click.echo(f"{what or 'Written'}: {path}", err=True)
    if follow:
        click.echo(f"Next: {follow}", err=True)


def show_finding(status: str, check: str, detail: str, *, indent: str = "  ") -> None:
    """A line of a list of checks; what does not fit into it follows below its text.

    Args:
        status: One word.
        check: What was looked at.
        detail: What was found.
        indent: Before the status.
    """
    from memdet.tables.fitting import wrapped
    from memdet.tables.screen import width

    before, line = f"{indent}{status:8}", f"{check}: {' '.join(detail.split())}"
    places = width()
    if places is not None:
        line = wrapped(line, places - len(before)).replace("\n", f"\n{' ' * len(before)}")
    click.echo(f"{before}{line}")
