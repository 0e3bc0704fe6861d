"""``memdet compare``."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memdet.cli import options
from memdet.cli.completion import set_names, suite_names
from memdet.cli.output import doing, show, wrote
from memdet.cli.places import default_directory
from memdet.cli.sets import with_suite
from memdet.errors import UserError

if TYPE_CHECKING:
    from memdet.detectors import Detector
    from memdet.results import Run

FIELD = "field"


@dataclass(frozen=True)
class Given:
    """What the command line says; the help of each option says what it means."""

    runs: tuple[Path, ...]
    against: str | None
    opponent: str | None
    sets: tuple[str, ...]
    names: tuple[str, ...]
    board: Path | None
    device: str
    by_stratum: bool
    quiet: bool
    form: str
    out: Path | None


@click.command("compare")
@click.argument("runs", metavar="RUN_DIR [RUN_DIR]", nargs=-1, required=True, type=options.UserPath(run=True))
@click.option("--against", metavar="NAME", help="Within one run: compare this detector with each other one.")
@click.option(
    "--with",
    "opponent",
    type=click.Choice([FIELD]),
    help="Compare your detector, in a run or a Python file, with all that the leaderboard has.",
)
@options.names_of(
    "--sets",
    "sets",
    metavar="SET",
    text="Of the field: sample sets or a suite, several with commas.  [default: all of the leaderboard]",
    kind=lambda: [*set_names(), *suite_names()],
)
@options.detectors(text="Of the field: yours in the run or file.  [default: those that the leaderboard does not have]")
@click.option(
    "--board",
    type=options.UserPath(),
    metavar="DIR",
    help="Runs of the leaderboard.  [default: results of the checkout]",
)
@options.device
@click.option("--by-stratum", is_flag=True, help="A table for each stratum of memorized items.")
@options.quiet
@options.form(["table", "json", "csv", "markdown"])
@options.out()
@options.view(top=True)
@options.into(Given)
def command(given: Given) -> None:
    """Paired tests: each detector between two runs, or, with one run, every pair of its detectors.

    Scores are compared on the items and noise seeds that both sides have. memdet compare mine.py --with field scores
    the detectors of a Python file on the sample sets of the leaderboard, by their protocols and seeds, and shows
    them among all others; of a run directory nothing is scored. memdet leaderboard --with RUN_DIR shows them on its
    page.
    """
    _check(given)
    if given.opponent == FIELD:
        _field(given)
        return
    from memdet.tables.comparison import compare_detectors, compare_runs
    from memdet.tables.comparison_text import FORMATS

    if _is_one(given.runs):
        rows = compare_detectors(given.runs[0], against=given.against, by_stratum=given.by_stratum)
    else:
        rows = compare_runs(given.runs[0], given.runs[1], by_stratum=given.by_stratum)
    show(FORMATS[given.form](rows), given.out, quiet=given.quiet)


def _check(given: Given) -> None:
    """Refuse what does not go together."""
    if len(given.runs) > 2:
        raise UserError(f"compare takes one run or two, not {len(given.runs)}")
    if given.opponent == FIELD:
        if len(given.runs) > 1:
            raise UserError("--with field takes one run or one Python file with detectors")
        for name, value in (("--against", given.against), ("--by-stratum", given.by_stratum)):
            if value:
                raise UserError(f"{name} does not go with --with field, which compares with all on all items")
        return
    if given.against is not None and not _is_one(given.runs):
        raise UserError("--against compares the detectors of one run: give one RUN_DIR")
    fields = (("--sets", given.sets), ("--detector", given.names), ("--board", given.board))
    if asked := [name for name, value in fields if value]:
        raise UserError(f"{asked[0]} belongs to --with field")
    if files := [path for path in given.runs if path.suffix == ".py"]:
        raise UserError(f"{files[0]} is a Python file: compare it with the leaderboard, --with field")


def _is_one(runs: tuple[Path, ...]) -> bool:
    return len(runs) == 1 or runs[0].resolve() == runs[1].resolve()


def _field(given: Given) -> None:
    from memdet.leaderboard.field import FORMATS, against_field, board_directory, sets_of_board
    from memdet.results import Run

    board = board_directory(given.board)
    sets = _sets(given, list(sets_of_board(board)))
    source = given.runs[0]
    run = _scored(given, source, sets) if source.suffix == ".py" else Run.load(source)
    labels = given.names if source.suffix != ".py" else [entry.label for entry in run.detectors]
    found = against_field(run, board, sets=sets, labels=labels)
    if not found:
        raise UserError(f"{run.name} has no scores to compare{_why(run)}")
    show(FORMATS[given.form](found), given.out, quiet=given.quiet)


def _why(run: Run) -> str:
    """What detectors said that have none."""
    said = [
        f"{label}: {texts[0]}" for of_set in run.manifest.messages.values() for label, texts in of_set.items() if texts
    ]
    return f": {said[0]}" if said else ""


def _sets(given: Given, known: list[str]) -> list[str]:
    """Sample sets that were asked for; all of the board without a word of them."""
    from memdet.samplesets import load_suite

    if not given.sets:
        return known
    named, suite = with_suite(given.sets, None)
    chosen = list(dict.fromkeys([*(load_suite(suite).sample_sets if suite else ()), *named]))
    on_board = [name for name in chosen if name in known]
    if missing := [name for name in named if name not in known]:
        raise UserError(f"the leaderboard has no scores on {missing[0]}: it has {', '.join(known)}")
    if not on_board:
        raise UserError(f"the leaderboard has no scores on the sets of {suite}: it has {', '.join(known)}")
    return on_board


def _scored(given: Given, file: Path, sets: list[str]) -> Run:
    """The run of a file's detectors on sample sets, made or continued."""
    from memdet.running import RunOptions, run
    from memdet.running.memory import keep_freed_memory
    from memdet.samplesets import load_sample_set

    detectors = _detectors(given, file)
    loaded = [load_sample_set(name) for name in sets]
    target = default_directory(f"field-{file.stem}", loaded, detectors)
    doing(f"scoring {', '.join(d.label for d in detectors)} on {len(loaded)} sample sets", quiet=given.quiet)
    keep_freed_memory()
    done = run(
        loaded,
        detectors,
        target,
        RunOptions(device=options.device_of(given.device)),
        command=shlex.join(["memdet", *sys.argv[1:]]),
        progress=not given.quiet,
    )
    wrote(target, "Run directory", follow=f"memdet submit {target} --plugin {file}", quiet=given.quiet)
    return done


def _detectors(given: Given, file: Path) -> list[Detector]:
    from memdet.detectors import detector_classes, make_detectors

    classes = detector_classes((file,))
    own = [name for name in classes if name not in detector_classes()]
    if not own:
        raise UserError(f"{file} defines no detector that memdet does not have")
    return make_detectors(given.names or own, classes)
