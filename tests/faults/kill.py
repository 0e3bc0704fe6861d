"""Kills a run again and again, goes on with it, and looks whether anything was lost.

``python -m tests.faults.kill --kills 25`` prints a line for each number of workers. Half of the kills with one worker
come at a file operation of the run, the others once some shards are there; with two workers all come in that way, and
with ``--engine ray`` too, where each run is a process of its own with its own Ray.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from tests.faults.small import small_run

KEYS = ["sample_set", "item_id", "detector", "seed"]
UNITS = 16
FILES = {"run.json", "scores.parquet", "items.parquet"}


def forked(action: Callable[[], object]) -> int:
    """Do something in another process that has all imports already; gives its id."""
    child = os.fork()
    if child:
        return child
    try:
        action()
        status = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        status = 1
    os._exit(status)


def killed_at_operation(out: Path, number: int, count: Path | None = None) -> int:
    """A run that kills itself at a file operation below its directory, counted from 1; gives the process.

    Args:
        out: Directory of the run.
        number: Of the operation; 0 lets it end.
        count: File for the number of operations of a run that ended.
    """
    seen = [0]

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(("open", "os.", "shutil.")) and str(out) in repr(arguments):
            seen[0] += 1
            if seen[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)

    def action() -> None:
        sys.addaudithook(watch)
        small_run(out)
        if count is not None:
            count.write_text(str(seen[0]))

    return forked(action)


def killed_at_shard(out: Path, number: int, workers: int) -> int:
    """A run that is killed once it has some shards, and at the latest when it is finished; gives the process."""
    child = forked(lambda: small_run(out, workers=workers))
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if len(list((out / "shards").glob("*.parquet"))) >= number:
            os.kill(child, signal.SIGKILL)
            return child
        time.sleep(0.001)
    return 0


def _below(process: int) -> list[int]:
    """Processes that a process started, and those that they started."""
    parents: dict[int, list[int]] = {}
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents.setdefault(int(file.read_text().rpartition(")")[2].split()[1]), []).append(int(file.parent.name))
    found, left = [], [process]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def ray_run(out: Path, workers: int, kill_at: int | None = None) -> int:
    """A run on a Ray of its own; what is left of a killed one's Ray is ended too.

    Args:
        out: Directory of the run.
        workers: Actors.
        kill_at: Shards at which it is killed; None lets it end.

    Returns:
        How it ended, negative for a signal.
    """
    code = "import sys; from pathlib import Path; from tests.faults.small import small_run; "
    code += f"small_run(Path(sys.argv[1]), workers={workers}, engine='ray')"
    child = subprocess.Popen([sys.executable, "-c", code, str(out)], stdout=subprocess.DEVNULL)
    while child.poll() is None:
        if kill_at is not None and len(list((out / "shards").glob("*.parquet"))) >= kill_at:
            started = _below(child.pid)
            child.kill()
            child.wait()
            for process in started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        time.sleep(0.005)
    return child.returncode


def ended(child: int) -> bool:
    """Wait for a process; whether it was killed."""
    return child > 0 and os.waitpid(child, 0)[1] == signal.SIGKILL


def try_kills(kills: int, workers: int, engine: str = "local", seed: int = 0) -> dict[str, int]:
    """Kill runs and go on with them.

    Args:
        kills: How many.
        workers: Of each run.
        engine: Of each run; all are compared with one of this process.
        seed: Of the places.

    Returns:
        How many kills came before the end, and how many runs ended with other bytes, lost or doubled rows, other files.
    """
    folder, draw = Path(tempfile.mkdtemp(prefix="memdet-kill-")), random.Random(seed)
    found = {"kills": 0, "other bytes": 0, "rows lost": 0, "rows doubled": 0, "other files": 0, "not resumed": 0}
    try:
        os.waitpid(killed_at_operation(folder / "whole", 0, folder / "operations"), 0)
        operations = int((folder / "operations").read_text())
        whole = (folder / "whole" / "scores.parquet").read_bytes()
        expected = pq.read_metadata(folder / "whole" / "scores.parquet").num_rows
        for number in range(kills):
            out = folder / f"run-{number}"
            if engine == "ray":
                found["kills"] += ray_run(out, workers, draw.randrange(UNITS)) == -signal.SIGKILL
                status = ray_run(out, workers)
            else:
                if workers == 1 and number % 2:
                    child = killed_at_operation(out, draw.randint(1, operations))
                else:
                    child = killed_at_shard(out, draw.randrange(UNITS), workers)
                found["kills"] += ended(child)
                _, status = os.waitpid(forked(lambda out=out: small_run(out, workers=workers)), 0)
            if status or not (out / "scores.parquet").is_file():
                found["not resumed"] += 1
                continue
            found["other files"] += {file.name for file in out.iterdir()} != FILES
            if (out / "scores.parquet").read_bytes() != whole:
                found["other bytes"] += 1
                rows = pq.read_table(out / "scores.parquet", columns=KEYS, use_threads=False)
                n_keys = len(rows.group_by(KEYS, use_threads=False).aggregate([]))
                found["rows lost"] += expected - n_keys
                found["rows doubled"] += len(rows) - n_keys
            shutil.rmtree(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found


def main() -> int:
    """Print what was found; 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--engine", choices=["local", "ray"], default="local")
    given = parser.parse_args()
    bad = 0
    for workers in given.workers:
        found = try_kills(given.kills, workers, given.engine)
        print(f"{given.engine}, {workers} workers: " + ", ".join(f"{count} {name}" for name, count in found.items()))
        bad += sum(found.values()) - found["kills"]
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
