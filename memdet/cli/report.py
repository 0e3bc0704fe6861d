"""``memdet report``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli.output import show, write_text
from memdet.errors import UserError

FORMATS = ("table", "json", "csv", "markdown", "latex", "model-index")


@click.command("report")
@click.argument("runs", metavar="RUN_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--by-stratum", is_flag=True, help="A table for each stratum of memorized items.")
@click.option("--by-time", is_flag=True, help="AUROC of detectors of one time, a column a time, in Markdown.")
@click.option(
    "--leaderboard", is_flag=True, help="Write leaderboard.json and .md of all runs below RUN_DIR into it (or --out)."
)
@click.option("--out", type=click.Path(path_type=Path), help="Write to a file instead of the screen.")
def command(
    runs: tuple[Path, ...], form: str, by_stratum: bool, by_time: bool, leaderboard: bool, out: Path | None
) -> None:
    """Print the table of finished runs, computed from their score files.

    A directory of runs, such as results, stands for all runs below it.
    """
    if leaderboard:
        if len(runs) > 1 or by_stratum or by_time:
            raise UserError(
                "--leaderboard takes one directory of runs and nothing else: memdet report results --leaderboard"
            )
        _write_leaderboard(runs[0], out or runs[0])
        return
    from memdet.reports import FORMATS as render
    from memdet.reports import report_rows
    from memdet.reports.leaderboard import find_runs

    rows = report_rows([run for path in runs for run in find_runs(path) or [path]], by_stratum=by_stratum)
    if by_time:
        from memdet.reports.by_time import by_time as pivot

        show(pivot(rows), out)
    else:
        show(render[form](rows), out)


def _write_leaderboard(root: Path, out: Path) -> None:
    from memdet.reports.leaderboard import leaderboard_json, leaderboard_rows
    from memdet.reports.leaderboard_markdown import leaderboard_markdown

    rows = leaderboard_rows(root)
    files = {"leaderboard.json": leaderboard_json(rows), "leaderboard.md": leaderboard_markdown(rows)}
    for name, text in files.items():
        write_text(out / name, text)
        click.echo(out / name)
