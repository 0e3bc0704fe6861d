"""``memdet reproduce cost-accuracy``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options
from memdet.errors import UserError
from memdet.io_utils import write_text
from studies.drawing import figures_directory, need_matplotlib


@click.command("cost-accuracy")
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
    """AUROC and TPR at 1 % FPR against network evaluations, with their Pareto fronts.

    Writes OUT/cost-accuracy.md and OUT/figures/cost-accuracy.png, from the score file of a run.
    """
    from memdet.tables import report_rows
    from studies.cost_accuracy.figure import save_cost_figure
    from studies.cost_accuracy.fronts import fronts_of
    from studies.cost_accuracy.page import FIGURE, render_cost_page

    need_matplotlib()
    sets = fronts_of(report_rows([run]))
    if not sets:
        raise UserError(f"{run} has no detector with an AUROC but controls and oracles: there is no front to draw")
    save_cost_figure(sets, figures_directory(out) / FIGURE)
    write_text(out / "cost-accuracy.md", render_cost_page(sets, run.as_posix()))
