"""``memdet leaderboard``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from memdet.cli import options
from memdet.cli.output import doing, wrote
from memdet.errors import UserError
from memdet.io_utils import write_text

PAGE = "leaderboard.html"


@dataclass(frozen=True)
class Given:
    """What the command line says; the help of each option says what it means."""

    root: Path | None
    mine: Path | None
    names: tuple[str, ...]
    quiet: bool
    out: Path | None


@click.command("leaderboard")
@click.argument("root", metavar="[DIR]", required=False, type=options.UserPath())
@click.option(
    "--with",
    "mine",
    type=options.UserPath(run=True),
    metavar="RUN_DIR",
    help="A run of yours: write the page alone, with its detectors in it, marked.",
)
@options.detectors(text="Of --with: yours in the run.  [default: those that the leaderboard does not have]")
@options.quiet
@options.out("Directory to write into.  [default: DIR, or the run of --with]", made="directory")
@options.into(Given)
def command(given: Given) -> int:
    """Rank all runs below a directory over their sample sets.

    It writes leaderboard.html, whose front page ranks methods, leaderboard.md and leaderboard.json. Without DIR the
    runs are those of the checkout, results.
    """
    from memdet.leaderboard.field import board_directory

    if given.names and given.mine is None:
        raise UserError("--detector names detectors of a run of yours: give --with RUN_DIR too")
    root = board_directory(given.root)
    doing(f"ranking all runs below {root}", quiet=given.quiet)
    if given.mine is None:
        write_leaderboard(root, given.out or root)
        return 0
    from memdet.leaderboard.board import chosen_entries
    from memdet.leaderboard.field import with_yours
    from memdet.leaderboard.page import leaderboard_html
    from memdet.results import Run

    tables = with_yours(chosen_entries(root), Run.load(given.mine), given.names)
    target = (given.out or given.mine) / PAGE
    write_text(target, leaderboard_html(root, tables))
    wrote(target, "Leaderboard with yours", quiet=given.quiet)
    return 0


def write_leaderboard(root: Path, out: Path) -> None:
    """Write the three files of a leaderboard, and say where they are.

    Args:
        root: Directory of the runs.
        out: Directory to write into.
    """
    from memdet.leaderboard.board import chosen_entries, leaderboard_json, rows_of_tables
    from memdet.leaderboard.markdown import leaderboard_markdown
    from memdet.leaderboard.page import leaderboard_html
    from memdet.leaderboard.ranking import world_ranking
    from memdet.leaderboard.ranking_text import ranking_json

    tables = chosen_entries(root)
    rows = rows_of_tables(tables)
    ranking = world_ranking(tables, rows)
    files = {
        "leaderboard.json": leaderboard_json(rows, None if ranking is None else ranking_json(ranking)),
        "leaderboard.md": leaderboard_markdown(rows, ranking),
        PAGE: leaderboard_html(root, tables, rows, ranking),
    }
    for name, text in files.items():
        write_text(out / name, text)
        click.echo(out / name)
