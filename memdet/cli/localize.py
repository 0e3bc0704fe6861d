"""``memdet localize``."""

from __future__ import annotations

import json
from pathlib import Path

import click

from memdet.cli.output import show


@click.command("localize")
@click.argument("spec")
@click.option("--detector", "names", multiple=True, metavar="NAME", help="Can be repeated.  [default: all with a map]")
@click.option("--seeds", type=click.IntRange(min=1), help="Noise seeds 0 to N-1.  [default: the protocol's]")
@click.option("--plugin", "plugins", type=click.Path(path_type=Path), multiple=True, help="Python file with detectors.")
@click.option("--format", "form", type=click.Choice(["table", "markdown", "json"]), default="table", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="Write to a file instead.")
def command(
    spec: str, names: tuple[str, ...], seeds: int | None, plugins: tuple[Path, ...], form: str, out: Path | None
) -> int:
    """Compare detectors' maps with the region that a sample set's memorized items share."""
    from memdet.detectors import detector_classes, make_detectors
    from memdet.localization.localization import localize, to_text
    from memdet.samplesets import load_sample_set

    classes = detector_classes(plugins)
    chosen = names or [name for name, cls in classes.items() if cls.gives_map()]
    rows = localize(load_sample_set(spec), make_detectors(chosen, classes), seeds)
    text = json.dumps(rows, indent=2) if form == "json" else to_text(rows)
    show(text, out)
    return 0
