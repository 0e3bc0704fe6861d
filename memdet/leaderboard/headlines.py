"""Methods at the point at which their papers judge them, and at that of memdet's protocol beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from memdet.detectors import Detector, detector_classes, make_detector
from memdet.samplesets import load_spec, load_suite, sample_set_ids
from memdet.tables.formats import markdown
from memdet.tables.numbers import UNDEFINED, interval
from memdet.tables.rows import Row
from memdet.tables.run_table import unranked
from memdet.tables.table import Table, left

SUITE = "headline"

_TEXT = """\
## Methods at their papers' points

Each published method with the options, and at the guidance, at which its paper states its figures (*headline*; the
sources are in [docs/detectors.md](../docs/detectors.md)). n is the number of noise draws over which the paper averages
a prompt's score; here it is {draws}, the same for all, so that rows compare (‡: one draw, not ranked). Beside it stands
the method with default options under the protocol of the same items, which has guidance {guidance}; a variant is named
where the default was not run.
"""


def headlines_markdown(rows: Sequence[Row]) -> str:
    """The section of the leaderboard; empty where no sample set of the suite ``headline`` was run.

    Args:
        rows: From :func:`~memdet.leaderboard.board.leaderboard_rows`.
    """
    pairs = [(name, other) for name in load_suite(SUITE).sample_sets if (other := _counterpart(name))]
    found: dict[str, dict[str, Row]] = {}
    for row in rows:  # by version, so the newest stays
        found.setdefault(row["sample_set"], {})[row["detector"]] = row
    pairs = [(name, other) for name, other in pairs if name in found]
    if not pairs:
        return ""
    classes = detector_classes()
    lines = []
    for name, cls in classes.items():
        headline = cls.info.headline
        if headline is None:
            continue
        label = make_detector(headline.label(name), classes).label  # as results write it
        here = [found[guided].get(label) for guided, _ in pairs]
        if not any(row is not None and row["auroc"] is not None for row in here):
            continue
        there = [_own(found.get(other, {}), cls) for _, other in pairs]
        best = max(row["auroc"] for row in here if row is not None and row["auroc"] is not None)
        shown = [*(_cell(row, label) for row in here), *(_cell(row, name) for row in there)]
        lines.append((-best, [name, headline.described(), *shown]))
    heads = ["method", "headline", *(guided for guided, _ in pairs), *(other for _, other in pairs)]
    counts = [int(row["seeds"]) for guided, _ in pairs for row in found[guided].values() if not unranked(row)]
    text = _TEXT.format(
        draws=max(counts, default=1),
        guidance=" or ".join(sorted({f"{load_spec(other).protocol.guidance:g}" for _, other in pairs})),
    )
    return f"{text}\n{markdown.draw(Table(left(*heads), [cells for _, cells in sorted(lines)]))}\n"


def _counterpart(name: str) -> str | None:
    """The sample set of the same items under another guidance."""
    spec = load_spec(name)
    for other in map(load_spec, sample_set_ids()):
        same = (other.source, other.columns.id, other.columns.label) == (
            spec.source,
            spec.columns.id,
            spec.columns.label,
        )
        if same and other.id != name and other.protocol.guidance != spec.protocol.guidance:
            return other.id
    return None


def _own(rows: Mapping[str, Row], cls: type[Detector]) -> Row | None:
    """The row of a method with default options, or of the variant that comes first in the alphabet."""
    named = {label: row for label, row in rows.items() if label.partition("@")[0] == cls.info.name}
    return named.get(cls.info.name) or next((named[label] for label in sorted(named)), None)


def _cell(row: Row | None, expected: str) -> str:
    if row is None or row["auroc"] is None:
        return UNDEFINED if row is not None else ""
    text = interval(row, "auroc") + ("‡" if unranked(row) else "")
    return text if row["detector"] == expected else f"{text} (`{row['detector'].partition('@')[2]}`)"
