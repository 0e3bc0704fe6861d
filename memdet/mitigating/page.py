"""A run of mitigations as one HTML file that loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from memdet.inert_page import Picture, picture_of_png, render
from memdet.io_utils import printable
from memdet.mitigating import text
from memdet.mitigating.measures import KINDS, Measured, copied_share
from memdet.mitigating.scatter import scatter
from memdet.mitigation.registry import COMPARED
from memdet.results.manifest import Manifest
from memdet.tables.numbers import UNDEFINED, count, counted, p_value, quantity, signed

PAGE = "mitigation.html"
PICTURED = {"memorized": 12, "ordinary": 4}  # captions
LARGEST = 160  # pixels a side
FILTERS: dict[str, Callable[..., str]] = {"printable": printable}


@dataclass(frozen=True)
class Shot:
    """A generation beside its label; no picture where its pixels are not finite numbers."""

    label: str
    picture: Picture | None
    copied: bool


@dataclass(frozen=True)
class Card:
    """A caption, its training image, and what each mitigation makes of it from one seed.

    Attributes:
        caption: Its text.
        seed: Of the noise.
        planted: The training image; None of an ordinary caption, whose image is not to come out.
        copies: Of how many seeds the generation without mitigation is a copy.
        shots: A mitigation each.
    """

    caption: str
    seed: int
    planted: Picture | None
    copies: int
    shots: list[Shot]


def to_html(found: text.Comparison, planted: Mapping[str, bytes], made_by: Mapping[str, str]) -> str:
    """The page. Captions are untrusted: text is escaped, and the page may load nothing and run nothing.

    Args:
        found: The run and what it shows.
        planted: PNG of the training image of memorized items, by item.
        made_by: Further lines of how it was made, by their heading.
    """
    numbered = list(enumerate(ordered(found.rows), 1))
    lead, *notes = text.sentences(found)
    return render(
        ["memdet.mitigating"],
        "mitigation.html",
        FILTERS,
        run=found.run,
        title=text.title(found.run),
        headline=text.headline(found),
        lead=lead,
        seeds=counted(len(found.run.seeds), "noise seed"),
        notes=notes,
        plot=scatter(numbered),
        rows=[(place, row, _cells(row)) for place, row in numbered],
        groups=[
            (heading, cards)
            for heading, kind in (("Memorized captions", "memorized"), ("Ordinary captions", "ordinary"))
            if (cards := cards_of(found, KINDS[kind], PICTURED[kind], planted))
        ],
        gates=text.gates(found),
        gate_note=text.gate_note(found.fpr),
        made_by=made_by,
    )


def made_by(manifest: Manifest) -> dict[str, str]:
    """How a run was computed, by heading."""
    entry, packages = manifest.settings.sample_sets[0], manifest.packages
    versions = ", ".join(f"{name} {packages[name]}" for name in ("torch", "diffusers", "memdet") if name in packages)
    models = {f"Files of {name}": f"sha256 {digest[:16]}" for name, digest in entry.model_hashes.items()}
    return {"Computed on": f"{manifest.settings.device}, {entry.dtype}, {versions}", **models}


def ordered(rows: Sequence[Measured]) -> list[Measured]:
    """The two that all are compared with, then the fewest copies first; last what was not made."""

    def key(row: Measured) -> tuple[bool, int, float, float]:
        place = COMPARED.index(row.label) if row.label in COMPARED else len(COMPARED)
        right = row.faithful["memorized"].value if row.faithful and "memorized" in row.faithful else 0.0
        return row.status != "ok", place, 0.0 if row.copied is None else row.copied.value, -right

    return sorted(rows, key=key)


def cards_of(found: text.Comparison, label: int, most: int, planted: Mapping[str, bytes]) -> list[Card]:
    """Captions to look at: those that come out most often without mitigation, from the first seed where they do."""
    run = found.run
    made = {one.label: one for one in run.mitigations if one.status == "ok"}
    if (plain := made.get(COMPARED[0])) is None:
        return []
    copied = {name: copied_share(one.own, run.rule.threshold) > 0 for name, one in made.items()}
    counts = copied[COMPARED[0]].sum(axis=1)
    rows = np.flatnonzero(run.items["label"].to_numpy() == label)
    chosen = sorted(rows.tolist(), key=lambda row: -counts[row])[:most]
    names = [row.label for row in ordered(found.rows) if row.label in made]
    cards = []
    for row in chosen:
        seed = int(copied[plain.label][row].argmax())
        item = run.items.iloc[row]
        original = planted.get(str(item["item_id"])) if label else None
        cards.append(
            Card(
                str(item["condition"]),
                run.seeds[seed],
                None if original is None else picture_of_png(original, LARGEST),
                int(counts[row]),
                [Shot(name, _drawn(made[name].images[row, seed]), bool(copied[name][row, seed])) for name in names],
            )
        )
    return cards


def _drawn(data: bytes) -> Picture | None:
    return picture_of_png(data, LARGEST) if data else None


def _cells(row: Measured) -> list[str]:
    """Of one row of the table, beside its name; none where nothing was made."""
    if row.status != "ok":
        return []
    cells = [text.share_told(row.copied)]
    for label in COMPARED:
        difference, p = (row.against or {}).get(label), (row.adjusted or {}).get(label)
        shown = UNDEFINED if difference is None else signed(difference.interval.value)
        cells.append(shown if p is None else f"{shown} ({p_value(p)})")
    cells += [text.share_told((row.faithful or {}).get(kind)) for kind in KINDS]
    cells += [text.value_told((row.diverse or {}).get(kind)) for kind in KINDS]
    cells.append(text.kernel_told(row.kernel))
    cells += [UNDEFINED if paid is None else count(round(paid, 1)) for paid in (row.forwards, row.vjps)]
    cells.append(UNDEFINED if row.seconds is None else quantity(row.seconds))
    return cells
