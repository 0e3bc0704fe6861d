"""``memdet export``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options
from memdet.errors import UserError
from memdet.io_utils import write_directory

FORMATS = {"croissant": "croissant.json", "dataset-card": "README.md"}


@click.command("export")
@options.sample_sets(required=True, suites=False)
@options.form(list(FORMATS), "croissant", "What to print.")
@options.out("Write items, metadata and card to this new directory.", made="either")
def command(spec: str, form: str, out: Path | None) -> None:
    """Describe a sample set for dataset hubs: Croissant 1.1 metadata or a Hugging Face dataset card.

    With --out the directory can be uploaded as it is: items in Parquet, croissant.json and README.md.
    """
    from memdet.samplesets import load_sample_set
    from memdet.samplesets.export import export_files

    if out is not None and out.exists():
        raise UserError(f"--out {out} exists: choose a new directory")
    files = export_files(load_sample_set(spec))
    if out is None:
        click.echo(files[FORMATS[form]].decode(), nl=False)
        return
    write_directory(out, files)
    for name in files:
        click.echo(out / name)
