"""``memdet push``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options
from memdet.cli.completion import offered, set_names
from memdet.cli.output import doing


@click.command("push")
@click.argument("what", metavar="RUN_DIR|SET", shell_complete=offered(set_names))
@click.option("--to", "repo", metavar="OWNER/NAME", required=True, help="Data set of the hub, made if there is none.")
@click.option("--private", is_flag=True, help="Only its owner may read it.")
@click.option("--licence", metavar="NAME", help="Of a run's scores: MIT, CC0-1.0, CC-BY-4.0 ...  [default: not stated]")
@options.fetching
@options.quiet
def command(
    what: str, repo: str, private: bool, licence: str | None, files: Path | None, offline: bool, quiet: bool
) -> None:
    """Upload a run or a sample set to the Hugging Face hub, as a data set with a card.

    A run directory is run.json, scores.parquet and a card with its table; prompts and images stay here. A sample set is
    what memdet export writes. Needs a token that may write: hf auth login, or HF_TOKEN.
    """
    from memdet.pushing.upload import check_target

    check_target(repo, offline=offline)
    path = Path(what).expanduser()
    if path.is_dir():
        from memdet.pushing.push import push_run
        from memdet.results import Run

        run = Run.load(path)
        doing(f"uploading {path}", quiet=quiet)
        address = push_run(run, repo, private=private, licence=licence)
    else:
        from memdet.pushing.push import push_sample_set
        from memdet.samplesets import load_sample_set
        from memdet.samplesets.fetch import Fetcher

        sample_set = load_sample_set(what, fetcher=Fetcher(files))
        doing(f"uploading {sample_set.id}", quiet=quiet)
        address = push_sample_set(sample_set, repo, private=private, licence=licence)
    click.echo(address)
