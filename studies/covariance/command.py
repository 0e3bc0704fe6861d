"""``memdet reproduce covariance``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options
from memdet.io_utils import write_text


@click.command("covariance")
@click.option("--seeds", type=click.IntRange(2), default=8, show_default=True, help="Noise draws on planted models.")
@options.out("A directory.", Path("docs"), "directory")
def command(seeds: int, out: Path) -> None:
    """Why the Hessian norm ranks below the score difference: closed forms, and planted models whitened.

    Writes OUT/covariance.md.
    """
    from studies.covariance import closed_form, page, planted

    rows = [closed_form.measure(d, decay) for d in closed_form.DIMENSIONS for decay in closed_form.DECAYS]
    models = [planted.measure(name, seeds) for name in planted.SETS]
    write_text(out / "covariance.md", page.render(rows, models))
