"""``memdet audit``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from memdet.cli import options
from memdet.cli.sets import with_suite
from memdet.errors import UserError

if TYPE_CHECKING:
    from memdet.samplesets import SampleSet


@dataclass(frozen=True)
class Given:
    """What the command line says; the help of each option says what it means."""

    spec: str | None
    suite: str | None
    memorized: Path | None
    control: Path | None
    column: str | None
    files: Path | None
    offline: bool
    form: str
    out: Path | None
    strict: bool


@click.command("audit")
@options.sample_sets()
@options.suite("All sample sets of a suite, e.g. controlled: a line for each.")
@click.option("--memorized", type=options.UserPath(), metavar="FILE", help="Memorized prompts, with --control.")
@click.option("--control", type=options.UserPath(), metavar="FILE", help="Other prompts, with --memorized.")
@options.column("Of the prompts in those files.")
@options.fetching
@options.form(["table", "json", "markdown"])
@options.out()
@click.option("--strict", is_flag=True, help="Exit with 1 unless the set passes.")
@options.view()
@options.into(Given)
def command(given: Given) -> int:
    """Show what controls alone can tell of a sample set, without any model.

    Of SET, an id or a YAML file, or of two files of prompts: .txt (one a line), .csv, .tsv, .parquet, .jsonl or
    .json, or OWNER/NAME:SPLIT of the hub. A set that holds one prompt under both labels exits with 1.
    """
    if (given.memorized is None) != (given.control is None):
        raise UserError("--memorized and --control go together: two files of prompts")
    if given.spec is not None and given.suite is None:
        named, suite = with_suite([given.spec], None)
        given = replace(given, spec=named[0] if named else None, suite=suite)
    if sum(source is not None for source in (given.spec, given.suite, given.memorized)) != 1:
        raise UserError("name one of: a sample set, --suite, or two files of prompts with --memorized and --control")
    if given.column is not None and given.memorized is None:
        raise UserError("--column belongs to --memorized and --control; a spec names its own columns")

    sets = _sample_sets(given)

    from memdet.auditing.audit import audit
    from memdet.auditing.text import FORMATS, SUMMARIES
    from memdet.cli.output import doing, show

    doing(f"scoring the controls of {', '.join(one.id for one in sets)}")
    results = [audit(one) for one in sets]
    show(SUMMARIES[given.form](results) if given.suite else FORMATS[given.form](results[0]), given.out)
    if any("contradiction" in result for result in results):
        return 1
    return 1 if given.strict and any(result["flagged"] is not False for result in results) else 0


def _sample_sets(given: Given) -> list[SampleSet]:
    from memdet.samplesets import Fetcher, load_prompt_pair, load_sample_set, load_suite

    fetcher = Fetcher(given.files, given.offline)
    if given.memorized is not None and given.control is not None:
        return [load_prompt_pair(given.memorized, given.control, column=given.column, fetcher=fetcher)]
    names = load_suite(given.suite).sample_sets if given.suite else [str(given.spec)]
    return [load_sample_set(name, fetcher=fetcher) for name in names]
