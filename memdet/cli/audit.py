"""``memdet audit``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.errors import UserError


@click.command("audit")
@click.argument("spec", required=False)
@click.option("--suite", help="All sample sets of a suite, e.g. controlled: a line each.")
@click.option("--memorized", type=click.Path(path_type=Path), metavar="FILE", help="Memorized prompts, with --control.")
@click.option("--control", type=click.Path(path_type=Path), metavar="FILE", help="Other prompts, with --memorized.")
@click.option("--column", metavar="NAME", help="Of the prompts in those files.  [default: prompt, caption or text]")
@click.option("--files", type=click.Path(path_type=Path), metavar="DIR", help="Your copies of files that SPEC fetches.")
@click.option("--offline", is_flag=True, help="Open no connection; take fetched files from --files or the cache.")
@click.option("--format", "form", type=click.Choice(["table", "json", "markdown"]), default="table", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write to a file instead of the screen.")
@click.option("--strict", is_flag=True, help="Exit with 1 unless the set passes.")
def command(
    spec: str | None,
    suite: str | None,
    memorized: Path | None,
    control: Path | None,
    column: str | None,
    files: Path | None,
    offline: bool,
    form: str,
    out: Path | None,
    strict: bool,
) -> int:
    """Show what controls alone can tell of a sample set, without any model.

    Of SPEC, an id or a YAML file, or of two files of prompts: .txt (one a line), .csv, .jsonl or .parquet.
    """
    if (memorized is None) != (control is None):
        raise UserError("--memorized and --control go together: two files of prompts")
    if sum(given is not None for given in (spec, suite, memorized)) != 1:
        raise UserError("name one of: a sample set, --suite, or two files of prompts with --memorized and --control")
    if column is not None and memorized is None:
        raise UserError("--column belongs to --memorized and --control; a spec names its own columns")

    from memdet.auditing.audit import audit
    from memdet.auditing.text import FORMATS, SUMMARIES
    from memdet.cli.output import show
    from memdet.samplesets import Fetcher, load_prompt_pair, load_sample_set, load_suite

    if memorized is not None and control is not None:
        sets = [load_prompt_pair(memorized, control, column=column)]
    else:
        names = load_suite(suite).sample_sets if suite else [str(spec)]
        fetcher = Fetcher(files, offline)
        sets = [load_sample_set(name, fetcher=fetcher) for name in names]
    results = [audit(sample_set) for sample_set in sets]
    show(SUMMARIES[form](results) if suite else FORMATS[form](results[0]), out)
    return 1 if strict and any(result["flagged"] is not False for result in results) else 0
