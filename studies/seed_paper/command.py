"""``memdet reproduce seed-paper``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from memdet.cli import options
from memdet.errors import UserError
from memdet.io_utils import write_text
from studies.drawing import figures_directory, need_matplotlib
from studies.seed_paper import PARTS


@click.command("seed-paper")
@click.option("--items", type=int, default=24, show_default=True, help="Of each group.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise.")
@click.option("--from", "stored", type=options.UserPath(), help="Draw from this JSON file without measuring.")
@click.option("--only", multiple=True, metavar="NAME", help=f"{', '.join(PARTS)}; the others stay as stored in --out.")
@options.out("A directory.", Path("docs"), "directory")
def command(items: int, seed: int, stored: Path | None, only: tuple[str, ...], out: Path) -> None:
    """Figures 1, 2, 4 and 5 of Jeon, Kim and No (arXiv 2412.04140).

    Writes OUT/seed-paper.md, OUT/figures/seed-paper.json with all numbers, and OUT/figures/seed-figure-*.png.
    """
    if items < 2:
        raise UserError(f"--items {items} is too few: a group has two or more")
    if stored is not None and only:
        raise UserError("--from draws what a file holds and --only measures: give one of them")
    for name in only:
        if name not in PARTS:
            raise UserError(f"--only {name!r} is not known: {', '.join(PARTS)}")
    need_matplotlib()

    from studies.seed_paper.figures import save_figures
    from studies.seed_paper.page import SCHEMA_VERSION, read_document, render_page, write_document

    numbers = out / "figures" / "seed-paper.json"
    document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "parts": {}}
    if stored is not None:
        document = read_document(stored)
        _compute(document["parts"])
    elif only and numbers.exists():
        document = read_document(numbers)
    figures = figures_directory(out)
    if stored is None:
        measured = _measure([name for name in PARTS if not only or name in only], items, seed)
        merged = document["parts"] | measured
        document["parts"] = {name: merged[name] for name in PARTS if name in merged}
    save_figures(document["parts"], figures)
    write_text(numbers, write_document(document))
    write_text(out / "seed-paper.md", render_page(document))


def _measure(names: list[str], items: int, seed: int) -> dict[str, Any]:
    """The parts of the document, each from its model; all models are found before the work."""
    import torch
    from tqdm import tqdm

    from memdet.models import ClosedForm, load_model
    from memdet.samplesets import load_sample_set
    from studies.seed_paper.measure import batches, measure_pixel, measure_tiny
    from studies.seed_paper.toy import measure_toy

    models = {name: load_model(name, dtype=torch.float64 if name == "toy-2d" else torch.float32) for name in names}
    parts: dict[str, Any] = {}
    for name, model in models.items():
        if name == "toy-2d":
            truth = load_model("mixture-2d")
            assert isinstance(truth, ClosedForm)
            parts[name] = measure_toy(model, truth, items, seed)
            continue
        count = batches(items) * (2 if name == "fashion-pixel" else 4)
        with tqdm(total=count, desc=name, unit="Jacobian", disable=None) as bar:
            if name == "fashion-pixel":
                parts[name] = measure_pixel(model, items, seed, bar.update)
            else:
                parts[name] = measure_tiny(model, load_sample_set("tiny-sd-a-verbatim"), items, seed, bar.update)
    return parts


def _compute(parts: dict[str, Any]) -> None:
    """Numbers follow from stored values; those of another version of the metrics are computed again."""
    from studies.seed_paper.measure import pixel_numbers, tiny_numbers

    if "fashion-pixel" in parts:
        parts["fashion-pixel"]["numbers"] = pixel_numbers(parts["fashion-pixel"]["data"]["places"])
    if "tiny-sd-a" in parts:
        parts["tiny-sd-a"]["numbers"] = tiny_numbers(parts["tiny-sd-a"]["data"])
