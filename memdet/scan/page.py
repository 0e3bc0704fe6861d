"""A scan as one HTML file that loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from memdet.extraction.page import FILTERS, Pair, pairs_of
from memdet.extraction.text import copied_of, rate_of
from memdet.extraction.text import lead as lead_of_copies
from memdet.extraction.text import sentences as sentences_on_copies
from memdet.extraction.text import title_of as title_of_copies
from memdet.inert_page import Picture, picture, render
from memdet.scan.result import scores_of
from memdet.scan.text import compared, expected, four_digits, headline, sentences, title_of
from memdet.tables.numbers import percent

if TYPE_CHECKING:
    import pandas as pd

    from memdet.extraction import Extraction, PromptResult
    from memdet.results import Run

ROWS = 1_000  # of the list
BINS = 48


def to_html(
    result: dict[str, Any],
    highest: Sequence[int],
    around: Sequence[int],
    *,
    run: Run,
    extraction: Extraction | None = None,
    training: Path | None = None,
) -> str:
    """The page of a scan. Prompts are untrusted: text is escaped, and the page may load nothing and run nothing.

    Args:
        result: From :func:`~memdet.scan.result.scan_result`.
        highest, around: Positions of the prompts to look at.
        run: The scan, whose directory holds the generations.
        extraction, training: What the generations are beside the training images, and the folder of these.
    """
    ranking, reference = result["ranking"], result["reference"]
    lead, *notes = sentences(result)
    looked_at = {one.id: one for one in extraction.prompts} if extraction is not None else {}
    return render(
        ["memdet.scan", "memdet.extraction"],
        "scan.html",
        {**FILTERS, "number": four_digits, "expected": expected, "percent": percent},
        result=result,
        title=title_of(result),
        headline=headline(result),
        lead=lead,
        notes=notes,
        plot=histogram(result, run.score_rows()),
        groups=[
            (heading, [(ranking[index], *_shown(ranking[index], looked_at, run.path, training)) for index in chosen])
            for heading, chosen in (("Highest scores", highest), ("Around the threshold", around))
            if chosen
        ],
        ranking=ranking[:ROWS],
        shown_seeds=max((len(row["generations"]) for row in ranking), default=0),
        left_out=max(0, len(ranking) - ROWS),
        compared=lambda row: compared(row, reference["used"]),
        looked_at=looked_at,
        copies_told=[]
        if extraction is None
        else [
            f"{title_of_copies(extraction)}: {lead_of_copies(extraction)}",
            *sentences_on_copies(extraction),
        ],
        copied_of=copied_of,
        rate_of=rate_of,
        settings=run.manifest.settings.sample_sets[0],
        device=run.manifest.settings.device,
        packages=run.manifest.packages,
    )


def histogram(result: dict[str, Any], scores: pd.DataFrame) -> dict[str, Any] | None:
    """Bars of the scores of prompts and reference, as shares of 0 to 100; None without two different scores."""
    of_prompts = [row["score"] for row in result["ranking"] if row["score"] is not None]
    of_reference = scores_of(scores, result["detector"], "reference")
    every = np.asarray([*of_prompts, *of_reference], dtype=np.float64)
    if len(every) < 2 or every.min() == every.max():
        return None
    edges = np.linspace(every.min(), every.max(), BINS + 1)
    groups: list[tuple[str, int, Any]] = []
    for name, values in (("scanned", of_prompts), ("reference", of_reference)):
        shares = np.histogram(values, edges)[0] / max(1, len(values))
        groups.append((name, len(values), shares))
    tallest = max(float(shares.max()) for _, _, shares in groups)
    threshold = (result["threshold"] or {}).get("value")
    span = edges[-1] - edges[0]
    return {
        "groups": [(name, n, _bars(shares / tallest)) for name, n, shares in groups if n],
        "low": float(edges[0]),
        "high": float(edges[-1]),
        "threshold": None if threshold is None else 100 * float((threshold - edges[0]) / span),
    }


def _bars(heights: Any) -> list[tuple[float, float, float]]:
    """Left edge, width and height of each bar that is not empty."""
    return [(100 * i / BINS, 100 / BINS, 100 * float(height)) for i, height in enumerate(heights) if height]


def _shown(
    row: dict[str, Any], looked_at: Mapping[str, PromptResult], run: Path | None, training: Path | None
) -> tuple[list[tuple[dict[str, Any], Picture | None]], list[Pair]]:
    """A row's generations alone, or beside their nearest training images where these are known."""
    if run is not None and training is not None and row["id"] in looked_at:
        return [], pairs_of(looked_at[row["id"]].copies.matches, run, training)
    return _pictures(row, run), []


def _pictures(row: dict[str, Any], run: Path | None) -> list[tuple[dict[str, Any], Picture | None]]:
    """A row's generations with their pictures, None for one that could not be drawn."""
    return [
        (generation, None if generation["file"] is None or run is None else picture(run / generation["file"]))
        for generation in row["generations"]
    ]
