"""``memdet zoo``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options
from memdet.cli.output import doing, wrote


@click.group("zoo")
def command() -> None:
    """Build or verify the planted models."""


@command.command("build")
@click.argument("name")
@options.out("Directory of the pipeline.  [default: ./NAME]", made="directory")
@click.option("--data", type=options.UserPath(), help="Directory of the Fashion-MNIST gzip files.")
@click.option("--seed", type=click.IntRange(min=0), help="Other roles, weights and batches than the shipped model's.")
def build(name: str, out: Path | None, data: Path | None, seed: int | None) -> int:
    """Train a planted model from its recipe; the same command resumes an interrupted build."""
    from memdet import zoo

    target = out or Path(name)
    doing(f"training {name} from its recipe, which takes hours; the same command resumes")
    figures = zoo.build(name, target, data, seed)
    for criterion in figures["criteria"]:
        met = "met" if criterion["met"] else "MISSED"
        click.echo(f"{criterion['name']}: {criterion['value']} (bound {criterion['bound']}): {met}")
    wrote(target, "Model directory", follow=f"memdet zoo verify {target}")
    return 0 if figures["passed"] else 1


@command.command("verify")
@click.argument("name_or_directory")
def verify(name_or_directory: str) -> int:
    """Repeat the extraction check of a planted model and compare it with its card."""
    from memdet import zoo

    differences = zoo.verify(name_or_directory)
    for line in differences:
        click.echo(line)
    if not differences:
        click.echo(f"{name_or_directory}: the figures of the card hold")
    return 1 if differences else 0
