"""``memdet submit``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options
from memdet.cli.output import show_finding
from memdet.errors import UserError
from memdet.io_utils import write_directory

RESULTS = Path("results")


@click.command("submit")
@click.argument("run", metavar="RUN_DIR", type=options.UserPath(run=True))
@options.plugins("Python file with its detectors.")
@options.out("Directory of the packed entry.  [default: results/SUITE/NAME]", made="either")
def command(run: Path, plugins: tuple[Path, ...], out: Path | None) -> int:
    """Check an entry for the leaderboard and pack it for a pull request; exit 1 if a check fails.

    An entry is a run directory. One that lies in results already is checked where it is.
    """
    from memdet.detectors.base import is_control
    from memdet.leaderboard.submission import check_entry, place_of
    from memdet.results import Manifest
    from memdet.running.aside import in_own_process
    from memdet.tables import report_rows
    from memdet.tables.numbers import interval

    click.echo(f"entry {run}")
    findings = in_own_process(check_entry, run, plugins) if plugins else check_entry(run, plugins)
    for finding in findings:
        show_finding(finding.status, finding.check, finding.detail)
    failed = sum(finding.status == "failed" for finding in findings)
    if failed:
        click.echo(f"{failed} {'check' if failed == 1 else 'checks'} failed; nothing was packed", err=True)
        return 1
    manifest = Manifest.read(run)
    in_place = out is None and run.resolve().parents[1].name == RESULTS.name
    target = (
        run
        if in_place
        else out or RESULTS / place_of(run, manifest.command, [entry.id for entry in manifest.settings.sample_sets])
    )
    if not in_place:
        if target.exists():
            raise UserError(f"{target} exists: remove it, or say --out results/SUITE/NAME")
        if out is None and not RESULTS.is_dir():
            raise UserError("there is no directory results here: go to the root of a clone of memdet, or say --out")
        files = [run / "run.json", run / "scores.parquet", *plugins]
        write_directory(target, {file.name: file.read_bytes() for file in files})
    for row in report_rows([target]):
        if not is_control(row["access"]):
            numbers = f"AUROC {interval(row, 'auroc')}, gain {interval(row, 'gain_over_control', sign=True)}"
            click.echo(f"  {row['sample_set']} v{row['sample_set_version']}, {row['detector']}: {numbers}")
    click.echo(f"The entry is good: {target}")
    click.echo("Next: memdet leaderboard; commit results; open a pull request (docs/submitting.md).")
    return 0
