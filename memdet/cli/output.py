"""Where commands write what they would print."""

from __future__ import annotations

import os
from pathlib import Path

import click


def write_text(path: Path, text: str) -> None:
    """Replace a file, all or nothing; directories are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)


def show(text: str, out: Path | None) -> None:
    """Print, or write to a file."""
    if out is None:
        click.echo(text)
    else:
        write_text(out, text + "\n")
