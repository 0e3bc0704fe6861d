"""``memdet check``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options

FORMATS = ("table", "json", "markdown")


@click.command("check")
@click.argument("run", type=options.UserPath(run=True), metavar="RUN_DIR")
@click.option("--baseline", type=options.UserPath(run=True), metavar="RUN_DIR", required=True, help="A finished run.")
@click.option(
    "--tolerance", type=float, default=0.01, show_default=True, help="Largest drop of AUROC that is accepted."
)
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Level of the test, over all detectors.")
@click.option(
    "--drift",
    type=float,
    help="Accepted relative difference of scores.  [default: what the baseline's run.json states]",
)
@options.form(FORMATS)
@options.out()
@options.view()
def command(
    run: Path, baseline: Path, tolerance: float, alpha: float, drift: float | None, form: str, out: Path | None
) -> int:
    """Compare a run with a baseline run; exit 1 if a detector got worse, drifted or vanished.

    A drop of AUROC fails if it is larger than the tolerance and significant: a paired permutation test on the items,
    Holm over all detectors and sample sets. Scores of the same item and seed fail if they differ by more than the
    baseline states.
    """
    from memdet.cli.output import show
    from memdet.gate.check import check_run
    from memdet.gate.text import GATE_FORMATS, verdict

    result = check_run(run, baseline, tolerance=tolerance, alpha=alpha, drift=drift)
    if out is not None:
        click.echo(verdict(result), err=True)
    show(GATE_FORMATS[form](result), out)
    return 0 if result.passed else 1
