"""Where commands write what they would print."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click


def write_text(path: Path, text: str) -> None:
    """Replace a file, all or nothing; directories are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8", newline="\n")
    os.replace(partial, path)


def write_files(directory: Path, files: Mapping[str, bytes]) -> None:
    """Make a directory with all files in it, or nothing.

    Raises:
        OSError: It exists, or cannot be written.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        for name, data in files.items():
            (partial / name).write_bytes(data)
        partial.chmod(0o755)
        partial.rename(directory)
    except OSError:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def show(text: str, out: Path | None) -> None:
    """Print, or write to a file."""
    if out is None:
        click.echo(text)
    else:
        write_text(out, text + "\n")
