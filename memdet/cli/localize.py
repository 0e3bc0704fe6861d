"""``memdet localize``."""

from __future__ import annotations

from pathlib import Path

import click

from memdet.cli import options
from memdet.cli.output import doing, show
from memdet.io_utils import json_text


@click.command("localize")
@options.sample_sets(required=True, suites=False)
@options.detectors("all with a map", "Several with commas, or repeated.")
@click.option("--seeds", type=click.IntRange(min=1), help="Noise seeds 0 to N-1.  [default: the protocol's]")
@options.plugins()
@options.form(["table", "markdown", "json"])
@options.out()
@options.view()
def command(
    spec: str, names: tuple[str, ...], seeds: int | None, plugins: tuple[Path, ...], form: str, out: Path | None
) -> int:
    """Compare detectors' maps with the region that a sample set's memorized items share."""
    from memdet.detectors import detector_classes, make_detectors
    from memdet.samplesets import load_sample_set

    classes = detector_classes(plugins)
    chosen = names or [name for name, cls in classes.items() if cls.gives_map()]
    sample_set, detectors = load_sample_set(spec), make_detectors(chosen, classes)

    from memdet.localization.localization import localize, to_table, to_text

    doing(f"drawing maps of {len(detectors)} detectors on {sample_set.id}")
    rows = localize(sample_set, detectors, seeds)
    show(json_text(rows) if form == "json" else (to_table if form == "table" else to_text)(rows), out)
    return 1 if any(row["status"] == "nonfinite" for row in rows) else 0
