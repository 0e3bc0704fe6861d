"""``memdet report``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memdet.cli import options
from memdet.cli.leaderboard import write_leaderboard
from memdet.cli.output import doing, show
from memdet.errors import UserError

if TYPE_CHECKING:
    from memdet.results import Run
    from memdet.results.conditions import Source

FORMATS = ("table", "json", "csv", "markdown", "latex", "model-index", "html")
IMAGES = 2


@dataclass(frozen=True)
class Given:
    """What the command line says; the help of each option says what it means."""

    runs: tuple[Path, ...]
    form: str
    by_stratum: bool
    by_time: bool
    by_draws: bool
    by_dose: bool
    against_published: bool
    leaderboard: bool
    images: int | None
    quiet: bool
    out: Path | None

    @property
    def tables(self) -> list[str]:
        """Options that ask for another table than that of all items."""
        asked = {
            "--by-stratum": self.by_stratum,
            "--by-time": self.by_time,
            "--by-draws": self.by_draws,
            "--by-dose": self.by_dose,
            "--against-published": self.against_published,
        }
        return [name for name, given in asked.items() if given]


@click.command("report")
@click.argument("runs", metavar="RUN_DIR...", nargs=-1, required=True, type=options.UserPath(run=True))
@options.form(FORMATS)
@click.option("--by-stratum", is_flag=True, help="A table for each stratum of memorized items.")
@click.option("--by-time", is_flag=True, help="AUROC of detectors that look at one time, a column for each time.")
@click.option("--by-draws", is_flag=True, help="AUROC of scores that average 1, 2, 4 ... noise draws, and its spread.")
@click.option("--by-dose", is_flag=True, help="AUROC by copies, and the extraction rate at which it reaches .75.")
@click.option(
    "--against-published", is_flag=True, help="What papers report on the same prompts, and whether it lies within."
)
@click.option(
    "--leaderboard",
    is_flag=True,
    help="As memdet leaderboard RUN_DIR.",
)
@click.option(
    "--images",
    type=click.IntRange(min=0, max=8),
    help="Of html: generations per item, made once and kept in the run directory.  [default: 2 where the model ships "
    "with memdet]",
)
@options.quiet
@options.out(made="either")
@options.view(top=True)
@options.into(Given)
def command(given: Given) -> int:
    """Print the table of finished runs, computed from their score files; or write their page.

    A directory of runs, such as results, stands for all runs below it.
    """
    if given.leaderboard:
        if len(given.runs) > 1 or given.tables:
            raise UserError("--leaderboard takes one directory of runs and nothing else, as memdet leaderboard does")
        doing(f"ranking all runs below {given.runs[0]}", quiet=given.quiet)
        write_leaderboard(given.runs[0], given.out or given.runs[0])
        return 0
    from memdet.leaderboard.board import find_runs

    runs = (run for path in given.runs for run in find_runs(path) or [path])
    found = list({run.resolve(): run for run in runs}.values())  # one that is named twice is one
    if given.form != "html":
        if given.images is not None:
            raise UserError("--images belongs to --format html")
        show(_text(found, given), given.out)
        return 0
    if given.out is None:
        raise UserError("--format html writes one file: add --out FILE.html")
    if given.tables:
        raise UserError(
            f"{given.tables[0]} makes tables, and --format html the page, which shows strata and costs in its plots"
        )
    if given.out.is_dir():
        raise UserError(f"--out {given.out} is a directory: name a file in it")
    from memdet.tables.numbers import counted, undrawn_pictures

    doing(f"making the page of {counted(len(found), 'run')}", quiet=given.quiet)
    page, undrawn = _page(found, given.images, given.quiet)
    show(page, given.out)
    if undrawn:
        click.echo(f"memdet: {undrawn_pictures(undrawn)}; the page names them", err=True)
    return 1 if undrawn else 0


def _text(runs: list[Path], given: Given) -> str:
    own = next((name for name in given.tables if name in _OWN_TABLES), None)
    if own is None:
        return _table(runs, given)
    if others := [name for name in given.tables if name != own]:
        raise UserError(f"{own} is a table of its own: leave out {' and '.join(others)}")
    return _OWN_TABLES[own](runs, given.form)


def _by_draws(runs: list[Path], form: str) -> str:
    from memdet.tables.by_draws import FORMATS as render
    from memdet.tables.by_draws import draw_rows

    _check_form("--by-draws", form, render)
    return render[form](draw_rows(runs))


def _by_dose(runs: list[Path], form: str) -> str:
    from memdet.tables.by_dose import FORMATS as render
    from memdet.tables.by_dose import dose_responses, dose_rows

    _check_form("--by-dose", form, render)
    found, left_out = dose_responses(runs)
    if not found:
        raise UserError(f"there is no sample set of doses: {' '.join(left_out)}")
    for line in left_out:
        click.echo(f"memdet: {line}", err=True)
    return render[form](dose_rows(found))


def _against_published(runs: list[Path], form: str) -> str:
    from memdet.published.against import against_published
    from memdet.published.text import FORMATS as render

    _check_form("--against-published", form, render)
    return render[form](against_published(runs))


_OWN_TABLES: dict[str, Callable[[list[Path], str], str]] = {
    "--by-draws": _by_draws,
    "--by-dose": _by_dose,
    "--against-published": _against_published,
}


def _check_form(option: str, form: str, forms: Collection[str]) -> None:
    if form not in forms:
        raise UserError(f"{option} is drawn as {', '.join(forms)}, not as {form}")


def _table(runs: list[Path], given: Given) -> str:
    from memdet.tables import FORMATS as render
    from memdet.tables import report_rows

    rows = report_rows(runs, by_stratum=given.by_stratum)
    if given.by_time:
        from memdet.tables.by_time import FORMATS as pivot

        _check_form("--by-time", given.form, pivot)
        return pivot[given.form](rows)
    from memdet.tables.run_table import apart

    if note := apart(rows):
        click.echo(f"memdet: {note}", err=True)
    return render[given.form](rows)


def _page(paths: list[Path], images: int | None, quiet: bool) -> tuple[str, int]:
    """The page, and how many of its pictures could not be drawn."""
    from memdet.page import to_html
    from memdet.results import Run
    from memdet.results.images import UNDRAWN

    runs = [Run.load(path) for path in paths]
    for run in runs:
        sources = [source for source in run.sources.values() if images is not None or source.ships]
        _make_images(run, sources, images, quiet)
    undrawn = sum(image == UNDRAWN for run in runs for image in run.images.values())
    return to_html(runs, generations=IMAGES if images is None else images), undrawn


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
