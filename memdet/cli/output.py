"""Where commands write what they would print."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.io_utils import write_text


def show(text: str, out: Path | None) -> None:
    """Print, or write to a file."""
    if out is None:
        click.echo(text)
    else:
        write_text(out, text + "\n")
