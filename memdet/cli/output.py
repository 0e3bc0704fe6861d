"""Where commands write what they would print."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.errors import UserError
from memdet.io_utils import write_text


def show(text: str, out: Path | None) -> None:
    """Print, or write to a file."""
    if out is None:
        click.echo(text)
    elif out.is_dir():
        raise UserError(f"--out {out} is a directory: name a file in it")
    else:
        write_text(out, text + "\n")
