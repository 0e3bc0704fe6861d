"""Gives every parser files that somebody changed: each is read, or refused in one line.

``python -m tests.faults.fuzz --minutes 5`` tries each parser so long, with other examples at each call, and prints a
line for each. What failed is kept in ``build/fuzz`` and tried first by the next call. ``test_fuzz.py`` tries fewer
examples, the same ones each time.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.faults.parsers import PARSERS
from tests.faults.watched import Hangs, Parser, check, write

KEPT = Path("build") / "fuzz"


def examples_of(parser: Parser) -> int:
    """How many examples a test tries; ``MEMDET_FUZZ_EXAMPLES`` says another number."""
    return int(os.environ.get("MEMDET_FUZZ_EXAMPLES", parser.examples))


def warm_up(parser: Parser, folder: Path) -> None:
    """Import what a parser needs, which takes time and may write."""
    write(parser.valid, folder)
    parser.read(folder, parser.valid)


def try_parser(parser: Parser, chosen: settings, number: int | None = None, until: float = 0) -> dict[str, int]:
    """Try a parser by examples.

    Args:
        parser: Which.
        chosen: How, and how often.
        number: Seed of the examples; hypothesis' own if None.
        until: Time after which no more are tried; none if 0.

    Returns:
        How many examples were tried, and how many refused.
    """
    found = {"examples": 0, "refused": 0}
    with tempfile.TemporaryDirectory(prefix="memdet-fuzz-") as folder:
        inside = Path(folder).resolve() / "given"
        warm_up(parser, inside)
        assert not check(parser, parser.valid, inside)

        @chosen
        @given(parser.cases)
        def attempt(case: Any) -> None:
            if until and time.monotonic() > until:
                return
            found["examples"] += 1
            found["refused"] += check(parser, case, inside)

        (attempt if number is None else seed(number)(attempt))()
    return found


def try_for(name: str, minutes: float) -> bool:
    """Try a parser for so long and print what was found; whether nothing was."""
    parser, number = PARSERS[name](), None
    with tempfile.TemporaryDirectory() as folder:
        warm_up(parser, Path(folder).resolve())
    end, total = time.monotonic() + 60 * minutes, {"examples": 0, "refused": 0}
    database = DirectoryBasedExampleDatabase(KEPT / name)
    while time.monotonic() < end:
        number = int.from_bytes(os.urandom(4), "big")
        phases = [Phase.reuse, Phase.generate, Phase.target, Phase.shrink]
        chosen = settings(
            max_examples=100,
            deadline=None,
            database=database,
            phases=phases,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        )
        try:
            found = try_parser(parser, chosen, number, end)
        except (Exception, Hangs):
            print(f"{name}: FAILED with seed {number} after {total['examples']:,} examples; kept in {KEPT / name}")
            traceback.print_exc(limit=-6, file=sys.stdout)
            return False
        total = {key: total[key] + found[key] for key in total}
    print(
        f"{name}: {total['examples']:,} examples, {total['refused']:,} refused, none failed; the last seed is {number}"
    )
    return True


def main() -> int:
    """Print a line for each parser; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="for each parser")
    parser.add_argument("--parser", choices=PARSERS, nargs="+", default=[*PARSERS])
    given_options = parser.parse_args()
    return int(not all([try_for(name, given_options.minutes) for name in given_options.parser]))


if __name__ == "__main__":
    sys.exit(main())
