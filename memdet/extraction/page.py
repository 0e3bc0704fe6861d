"""An extraction as one HTML file that loads nothing and runs no script: generations beside training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from memdet.extraction.compare import Match
from memdet.extraction.result import Extraction
from memdet.extraction.text import copied_of, interval_of, lead, rate_of, sentences, title_of
from memdet.inert_page import Picture, picture, render
from memdet.io_utils import printable
from memdet.tables.numbers import number

PICTURED, PAIRS = 24, 4  # prompts, and pairs of each
ROWS = 1_000  # of the list
_LARGEST = 256  # pixels a side


def ratio(value: float | None) -> str:
    """A ratio or a cosine, as the pairs show it."""
    return number(value, places=2)


FILTERS: dict[str, Callable[..., str]] = {"printable": printable, "ratio": ratio, "distance": number}


@dataclass(frozen=True)
class Pair:
    """A generation beside its nearest training image."""

    match: Match
    generation: Picture
    training: Picture


def to_html(found: Extraction, generations: Path, training: Path, made_by: dict[str, str]) -> str:
    """The page. Prompts and file names are untrusted: text is escaped.

    Args:
        found: What to show.
        generations: Directory from which files of generations start.
        training: Folder of the training images.
        made_by: Further lines of how it was made, by their heading.
    """
    return render(
        ["memdet.extraction"],
        "extraction.html",
        FILTERS,
        found=found,
        title=title_of(found),
        lead=lead(found),
        notes=sentences(found),
        cards=[(row, pairs_of(row.copies.matches, generations, training)) for row in found.prompts[:PICTURED]],
        rows=found.prompts[:ROWS],
        left_out=max(0, len(found.prompts) - ROWS),
        copied_of=copied_of,
        rate_of=rate_of,
        interval_of=interval_of,
        made_by=made_by,
    )


def pairs_of(matches: Sequence[Match], generations: Path, training: Path) -> list[Pair]:
    """Up to four generations beside their nearest training images, the nearest first."""
    drawn = sorted((m for m in matches if m.ratio is not None), key=lambda match: match.ratio or 0.0)
    return [
        Pair(match, picture(generations / match.file, _LARGEST), picture(training / match.nearest, _LARGEST))
        for match in drawn[:PAIRS]
        if match.file is not None and match.nearest is not None
    ]
