"""``memdet reproduce sd-scale``."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import click

from memdet.cli import options
from studies.sd_scale.measure import DETECTORS, log, measure, stable_diffusion, table


@click.command("sd-scale")
@click.option("--work", type=options.UserPath(), metavar="DIR", help="Where 4 GB are free.  [default: the system's]")
@click.option("--items", type=click.IntRange(2, 4), default=2, show_default=True, help="Prompts.")
@options.detectors(", ".join(DETECTORS), "Can be repeated.")
@options.out("A directory.", Path("results/scale"), "directory")
@click.option("--table", "shows", is_flag=True, help="Only print what the documentation shows of the record.")
def command(work: Path | None, items: int, names: tuple[str, ...], out: Path, shows: bool) -> None:
    """Time and memory of detectors at the size of Stable Diffusion 1.4, on the CPU.

    Makes a pipeline with random weights (4 GB) in a directory of its own below --work, runs memdet run on it as a
    process of its own, and writes OUT/record.json and OUT/log.txt.
    """
    if shows:
        click.echo(table(json.loads((out / "record.json").read_text(encoding="utf-8"))))
        return
    place = Path(tempfile.mkdtemp(prefix="memdet-scale-", dir=work))
    try:
        click.echo(log(measure(stable_diffusion(), place, out, items, names or DETECTORS)), nl=False)
    finally:
        shutil.rmtree(place)
