"""``memdet reproduce seed-paper``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from memdet.cli import options
from memdet.errors import UserError
from memdet.io_utils import write_text
from studies.drawing import figures_directory, need_matplotlib
from studies.seed_paper import PARTS

if TYPE_CHECKING:
    from memdet.samplesets import SampleSet
    from studies.seed_paper.measure_world import Extent


@click.command("seed-paper")
@click.option("--items", type=int, default=24, show_default=True, help="Of each group.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the noise.")
@click.option("--from", "stored", type=options.UserPath(), help="Draw from this JSON file without measuring.")
@click.option(
    "--only",
    multiple=True,
    metavar="NAME",
    help=f"{', '.join(PARTS)}, or with --world models of it; the others stay as stored in --out.",
)
@click.option("--world", metavar="NAME", help="Measure the claims on all models of a world, and no figure.")
@click.option("--times", type=click.IntRange(min=3), help="At which a world's spectra are taken.  [default: 3]")
@options.out("A directory.", Path("docs"), "directory")
def command(
    items: int, seed: int, stored: Path | None, only: tuple[str, ...], world: str | None, times: int | None, out: Path
) -> None:
    """Figures 1, 2, 4 and 5 of Jeon, Kim and No (arXiv 2412.04140), and its claims by world.

    Writes OUT/seed-paper.md, OUT/figures/seed-paper.json with all numbers, and OUT/figures/seed-figure-*.png. With
    --world it writes OUT/figures/seed-paper-NAME.json, and the page with the figures as they are stored.
    """
    if items < 2:
        raise UserError(f"--items {items} is too few: a group has two or more")
    if stored is not None and (only or world is not None):
        raise UserError("--from draws what a file holds, --only and --world measure: give one of them")
    if world is not None:
        from studies.seed_paper.measure_world import FEWEST_TIMES, Extent

        _pose_on_world(world, Extent(items, times or FEWEST_TIMES, seed), only, out)
        return
    if times is not None:
        raise UserError("--times is of the spectra of a world: name it by --world")
    _check_names(only, PARTS)
    _draw_figures(items, seed, stored, only, out)


def _draw_figures(items: int, seed: int, stored: Path | None, only: tuple[str, ...], out: Path) -> None:
    """Measure, or read what is stored, and write numbers, figures and page."""
    need_matplotlib()

    from studies.seed_paper.figures import save_figures
    from studies.seed_paper.page import SCHEMA_VERSION, read_document, render_page, write_document
    from studies.seed_paper.page_worlds import read_worlds

    numbers = out / "figures" / "seed-paper.json"
    document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "parts": {}}
    if stored is not None:
        document = read_document(stored)
        _compute(document["parts"])
    elif only and numbers.exists():
        document = read_document(numbers)
    worlds = read_worlds(numbers.parent if stored is None else stored.parent)
    figures = figures_directory(out)
    if stored is None:
        measured = _measure([name for name in PARTS if not only or name in only], items, seed)
        merged = document["parts"] | measured
        document["parts"] = {name: merged[name] for name in PARTS if name in merged}
    save_figures(document["parts"], figures)
    write_text(numbers, write_document(document))
    write_text(out / "seed-paper.md", render_page(document, worlds))


def _pose_on_world(world: str, extent: Extent, only: tuple[str, ...], out: Path) -> None:
    """Measure the models of a world and write their numbers, and the page with what is stored of figures and worlds."""
    from memdet.samplesets import load_sample_set
    from studies.seed_paper.page import SCHEMA_VERSION, read_document, render_page, write_document
    from studies.seed_paper.page_worlds import WORLD_SCHEMA_VERSION, file_of, read_world, read_worlds
    from studies.seed_paper.worlds import sets_of

    by_model: dict[str, SampleSet] = {}
    for given in map(load_sample_set, sets_of(world)):
        for model in given.items["model"].unique().tolist():
            if model in by_model:
                raise UserError(
                    f"{by_model[model].id} and {given.id} ask the same of {model}: a model has one such set"
                )
            by_model[model] = given
    _check_names(only, by_model)
    numbers, path = out / "figures" / "seed-paper.json", file_of(out / "figures", world)
    document = read_document(numbers) if numbers.exists() else {"schema_version": SCHEMA_VERSION, "parts": {}}
    others = [found for found in read_worlds(path.parent) if found["world"] != world]
    known = read_world(path)["models"] if only and path.exists() else {}
    measured = _measure_world({name: by_model[name] for name in by_model if not only or name in only}, extent)
    merged = known | measured
    models = {name: merged[name] for name in by_model if name in merged}
    figures_directory(out)
    found = {"schema_version": WORLD_SCHEMA_VERSION, "world": world, "models": models}
    write_text(path, write_document(found))
    in_order = sorted([*others, found], key=lambda one: str(one["world"]))
    write_text(out / "seed-paper.md", render_page(document, in_order))


def _check_names(only: Iterable[str], known: Iterable[str]) -> None:
    for name in only:
        if name not in known:
            raise UserError(f"--only {name!r} is not known: {', '.join(known)}")


def _measure_world(by_model: dict[str, SampleSet], extent: Extent) -> dict[str, Any]:
    """What is stored of each model; all models are found before the work."""
    from tqdm import tqdm

    from memdet.models import load_model
    from studies.seed_paper.measure_world import jacobians, measure_model

    models = {name: load_model(name) for name in by_model}
    found: dict[str, Any] = {}
    for name, model in models.items():
        with tqdm(total=jacobians(extent), desc=name, unit="Jacobian", disable=None) as bar:
            found[name] = measure_model(model, by_model[name], extent, bar.update)
    return found


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
