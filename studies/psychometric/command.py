"""``memdet reproduce psychometric``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options
from memdet.errors import UserError
from memdet.io_utils import write_text
from studies.drawing import figures_directory, need_matplotlib


@click.command("psychometric")
@click.option(
    "--from",
    "run",
    type=options.UserPath(),
    default=Path("results/controlled/reference"),
    show_default=True,
    help="A run directory.",
)
@options.out("A directory.", Path("docs"), "directory")
def command(run: Path, out: Path) -> None:
    """AUROC against the measured extraction rate, for a handful of detectors.

    Writes OUT/psychometric.md and OUT/figures/psychometric.png, from the score file of a run.
    """
    from memdet.tables.by_dose import dose_responses
    from studies.psychometric.figure import save_psychometric_figure
    from studies.psychometric.page import FIGURE, render_psychometric_page

    need_matplotlib()
    found, left_out = dose_responses([run])
    if not found:
        raise UserError(f"{run} has no sample set of doses: {' '.join(left_out)}")
    save_psychometric_figure(found, figures_directory(out) / FIGURE)
    write_text(out / "psychometric.md", render_psychometric_page(found, run.as_posix()))
