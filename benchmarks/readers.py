"""How much processor time the commands take that only read: each in a process of its own, a few times.

python -m benchmarks.readers

Processor time and not the clock's: other work on the machine changes it little.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
RUN = "results/quick/reference"
READERS = (
    f"report {RUN}",
    f"compare {RUN}",
    f"compare {RUN} --with field --sets tiny-sd-a-verbatim -d wen2024",
    f"check {RUN} --baseline {RUN}",
    "list detectors",
    "list samples",
    "show wen2024",
    "show tiny-sd-a-verbatim",
)


def processor_seconds(command: str) -> float:
    """User and system time of a command of memdet.

    Raises:
        CalledProcessError: It failed.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "memdet", *command.split()], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command()
@click.option("--rounds", default=3, show_default=True)
def main(rounds: int) -> None:
    """Print the median processor seconds of each reader."""
    for command in READERS:
        seconds = statistics.median(processor_seconds(command) for _ in range(rounds))
        click.echo(f"{seconds:5.2f} s   memdet {command}")


if __name__ == "__main__":
    main()
