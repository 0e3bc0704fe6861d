"""``memdet submit``: all checks of an entry, and its place in the repository."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from memdet.detectors import detector_classes
from memdet.errors import UserError
from memdet.leaderboard.entry import Entry, check_files
from memdet.leaderboard.submission_recompute import check_again
from memdet.results.manifest import Manifest
from memdet.results.store import require_whole_files
from memdet.samplesets import SuiteSpec, load_suite, suite_names
from memdet.testing.check_detector import Finding


def check_entry(path: Path, plugins: Sequence[Path] = ()) -> list[Finding]:
    """Check an entry: its files, then what this installation computes again.

    Args:
        path: Run directory.
        plugins: Files with the detectors of the entry that memdet does not have.

    Returns:
        A finding for each check that passed and for each mistake. Nothing is computed where the files have mistakes.

    Raises:
        UserError: No run directory, or a plugin that cannot be loaded.
    """
    if not path.is_dir():
        raise UserError(f"{path} is no directory: name a run directory, as `memdet run` made it")
    detector_classes(plugins)  # a plugin that does not load is no mistake of the entry's
    try:
        entry = Entry(path, plugins)
    except UserError as error:
        return [Finding("files", "failed", str(error))]
    findings = [Finding("files", "passed", f"run.json and scores.parquet, {len(entry.scores):,} rows")]
    findings += check_files(entry)
    if any(finding.status == "failed" for finding in findings):
        return [*findings, Finding("scores again", "skipped", "mend the above first")]
    findings += check_again(entry)
    if any(finding.status == "failed" for finding in findings):
        return findings
    try:  # last, since what is said of single rows tells more
        require_whole_files(path, Manifest.read(path))
    except UserError as error:
        findings[0] = Finding("files", "failed", str(error))
    return findings


def place_of(path: Path, command: str, sample_sets: Sequence[str]) -> Path:
    """``<suite>/<run>`` of an entry.

    The suite is the one that its command names, or else the smallest one with all of its sample sets; one that runs
    variants of a single detector comes last.

    Raises:
        UserError: No suite has them all.
    """
    words = shlex.split(command)
    named = next((after for word, after in zip(words, words[1:], strict=False) if word == "--suite"), None)
    suites = [suite for name in suite_names() if (suite := load_suite(name)).detectors]
    fitting = [suite for suite in suites if set(sample_sets) <= set(suite.sample_sets)]
    if not fitting:
        raise UserError(
            f"no suite has all of {', '.join(sample_sets)}: say where the entry goes, `out` results/SUITE/NAME",
            parameters=("out",),
        )

    def rank(suite: SuiteSpec) -> tuple[bool, bool, int, str]:
        of_one = len({label.partition("@")[0] for label in suite.detectors}) == 1 and "*" not in suite.detectors
        return suite.name != named, of_one, len(suite.sample_sets), suite.name

    best = min(fitting, key=rank)
    return Path(best.name) / path.resolve().name
