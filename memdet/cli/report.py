"""``memdet report``."""

from __future__ import annotations

from pathlib import Path

import click

FORMATS = ("table", "json", "csv", "markdown")


@click.command("report")
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--by-stratum", is_flag=True, help="A table for each stratum of memorized items.")
@click.option("--by-time", is_flag=True, help="AUROC of detectors of one time, a column a time, in Markdown.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to a file instead of the screen.")
def command(runs: tuple[Path, ...], form: str, by_stratum: bool, by_time: bool, out: Path | None) -> None:
    """Print the table of finished runs, computed from their score files."""
    from memdet.cli._output import emit
    from memdet.reports import FORMATS as render
    from memdet.reports import report_rows

    rows = report_rows(runs, by_stratum=by_stratum)
    if by_time:
        from memdet.reports.by_time import by_time as pivot

        text = pivot(rows)
    else:
        text = render[form](rows)
    emit(text, out)
