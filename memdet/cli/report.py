"""``memdet report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from memdet.cli.output import show
from memdet.errors import UserError
from memdet.io_utils import write_text

if TYPE_CHECKING:
    from memdet.results import Run
    from memdet.results.conditions import Source

FORMATS = ("table", "json", "csv", "markdown", "latex", "model-index", "html")
IMAGES = 2


@click.command("report")
@click.argument("runs", metavar="RUN_DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
@click.option("--by-stratum", is_flag=True, help="A table for each stratum of memorized items.")
@click.option("--by-time", is_flag=True, help="AUROC of detectors of one time, a column a time, in Markdown.")
@click.option(
    "--leaderboard",
    is_flag=True,
    help="Write leaderboard.json, .md and .html of all runs below RUN_DIR into it (or --out).",
)
@click.option(
    "--images",
    type=click.IntRange(min=0, max=8),
    help="Of html: generations an item, made once and kept in the run directory.  [default: 2 where the model ships "
    "with memdet]",
)
@click.option("--quiet", is_flag=True, help="No progress bar.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to a file instead of the screen.")
def command(
    runs: tuple[Path, ...],
    form: str,
    by_stratum: bool,
    by_time: bool,
    leaderboard: bool,
    images: int | None,
    quiet: bool,
    out: Path | None,
) -> None:
    """Print the table of finished runs, computed from their score files; or write their page.

    A directory of runs, such as results, stands for all runs below it.
    """
    if leaderboard:
        if len(runs) > 1 or by_stratum or by_time:
            raise UserError(
                "--leaderboard takes one directory of runs and nothing else: memdet report results --leaderboard"
            )
        _write_leaderboard(runs[0], out or runs[0])
        return
    from memdet.leaderboard.board import find_runs

    found = [run for path in runs for run in find_runs(path) or [path]]
    if form != "html":
        if images is not None:
            raise UserError("--images belongs to --format html")
        show(_table(found, form, by_stratum, by_time), out)
        return
    if out is None:
        raise UserError("--format html writes one file: add --out FILE.html")
    if by_stratum or by_time:
        raise UserError("--by-stratum and --by-time are tables; the page shows strata and costs in its plots")
    if out.is_dir():
        raise UserError(f"--out {out} is a directory: name a file in it")
    show(_page(found, images, quiet), out)


def _table(runs: list[Path], form: str, by_stratum: bool, by_time: bool) -> str:
    from memdet.tables import FORMATS as render
    from memdet.tables import report_rows

    rows = report_rows(runs, by_stratum=by_stratum)
    if by_time:
        from memdet.tables.by_time import by_time as pivot

        return pivot(rows)
    return render[form](rows)


def _page(paths: list[Path], images: int | None, quiet: bool) -> str:
    from memdet.page import to_html
    from memdet.results import Run

    runs = [Run.load(path) for path in paths]
    for run in runs:
        sources = [source for source in run.sources.values() if images is not None or source.ships]
        _make_images(run, sources, images, quiet)
    return to_html(runs, generations=IMAGES if images is None else images)


def _make_images(run: Run, sources: list[Source], images: int | None, quiet: bool) -> None:
    """Make the images of the page that are missing; where they were not asked for, a page without new ones will do."""
    from memdet.running.generations import make_images

    assert run.path is not None
    try:
        make_images(run.path, sources, IMAGES if images is None else images, progress=not quiet)
    except (OSError, UserError) as error:
        if images is not None:
            raise
        click.echo(f"memdet: the page has no new images: {error}", err=True)


def _write_leaderboard(root: Path, out: Path) -> None:
    from memdet.leaderboard.board import leaderboard_json, leaderboard_rows
    from memdet.leaderboard.markdown import leaderboard_markdown
    from memdet.leaderboard.page import leaderboard_html

    rows = leaderboard_rows(root)
    files = {
        "leaderboard.json": leaderboard_json(rows),
        "leaderboard.md": leaderboard_markdown(rows),
        "leaderboard.html": leaderboard_html(root),
    }
    for name, text in files.items():
        write_text(out / name, text)
        click.echo(out / name)
