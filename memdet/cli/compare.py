"""``memdet compare``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options
from memdet.cli.output import show
from memdet.errors import UserError


@click.command("compare")
@click.argument("runs", metavar="RUN_DIR [RUN_DIR]", nargs=-1, required=True, type=options.UserPath())
@click.option("--against", metavar="NAME", help="Within one run: compare this detector with each other one.")
@click.option("--by-stratum", is_flag=True, help="A table for each stratum of memorized items.")
@options.form(["table", "json", "csv", "markdown"])
@options.out()
@options.view()
def command(runs: tuple[Path, ...], against: str | None, by_stratum: bool, form: str, out: Path | None) -> None:
    """Paired tests: each detector between two runs, or, with one run, every pair of its detectors.

    Scores are compared on the items and noise seeds that both sides have.
    """
    if len(runs) > 2:
        raise UserError(f"compare takes one run or two, not {len(runs)}")
    one = len(runs) == 1 or runs[0].resolve() == runs[1].resolve()
    if against is not None and not one:
        raise UserError("--against compares the detectors of one run: give one RUN_DIR")
    from memdet.tables.comparison import compare_detectors, compare_runs
    from memdet.tables.comparison_text import FORMATS

    if one:
        rows = compare_detectors(runs[0], against=against, by_stratum=by_stratum)
    else:
        rows = compare_runs(runs[0], runs[1], by_stratum=by_stratum)
    show(FORMATS[form](rows), out)
