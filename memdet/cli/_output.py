"""Where a command's text goes."""

from __future__ import annotations

import os
from pathlib import Path

import click


def emit(text: str, out: Path | None) -> None:
    """Print, or write to a file under a temporary name and rename it, so that what exists is complete."""
    if out is None:
        click.echo(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".partial")
    partial.write_text(text + "\n", encoding="utf-8")
    os.replace(partial, out)
