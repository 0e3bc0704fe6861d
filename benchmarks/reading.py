"""How long the table of a finished run takes, beside another revision of memdet, in turn on one machine.

python -m benchmarks.reading --before REVISION --out results/benchmarks/reading-cpu.json

Each round calls ``memdet report RUN`` once in either tree, each time in a new process.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import click

from memdet.benching.interleaved import interleave, ratio
from memdet.io_utils import write_text
from memdet.running.description import describe_machine

ROOT = Path(__file__).parents[1]


def seconds_of_report(tree: Path, run: Path) -> float:
    """Seconds from the start of a process to its end.

    Args:
        tree: A checkout, from which memdet is imported.
        run: Run directory.

    Raises:
        CalledProcessError: The report failed.
    """
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "memdet", "report", str(run)], cwd=tree, check=True, capture_output=True)
    return time.perf_counter() - start


@click.command()
@click.option("--run", type=click.Path(path_type=Path, exists=True), default=ROOT / "results/quick/reference")
@click.option("--before", required=True, help="Revision that is compared, as git names it.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write the record to a file.")
def main(run: Path, before: str, rounds: int, out: Path | None) -> None:
    """Print the time of ``memdet report`` here, over its time in another revision."""
    git = partial(subprocess.run, cwd=ROOT, check=True, capture_output=True, text=True)
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "before"
        git(["git", "worktree", "add", "--detach", str(tree), before])
        try:
            arms = {
                name: partial(seconds_of_report, where, run.resolve())
                for name, where in (("now", ROOT), ("before", tree))
            }
            for arm in arms.values():  # compiles the sources, and brings files into memory
                arm()
            taken = interleave(arms, rounds)
        finally:
            git(["git", "worktree", "remove", "--force", str(tree)])
    found = ratio(taken["now"], taken["before"])
    record = {
        "machine": describe_machine(shlex.join(["python", "-m", "benchmarks.reading", *sys.argv[1:]]), "cpu"),
        "run": run.resolve().relative_to(ROOT).as_posix(),
        "before": git(["git", "rev-parse", before]).stdout.strip(),
        "seconds": taken,
        "ratio": found.median,
        "ratio_interval": [found.low, found.high],
    }
    click.echo(
        f"memdet report {record['run']}: {found.median:.3f} [{found.low:.3f}, {found.high:.3f}] of the time before"
    )
    if out is not None:
        write_text(out, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
