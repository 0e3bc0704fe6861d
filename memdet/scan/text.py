"""A scan as text: for a terminal, as CSV or JSON. Control characters of prompts are written as escapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from memdet.extraction import Extraction
from memdet.extraction.text import blocks_of
from memdet.io_utils import json_text, printable
from memdet.scan.result import undrawn
from memdet.tables.formats import text
from memdet.tables.formats.csv import to_csv as to_comma_separated
from memdet.tables.numbers import UNDEFINED, bounded, counted, percent, undrawn_pictures
from memdet.tables.table import Table, left, right

SHOWN = 20  # prompts in a terminal
FIELDS_SHOWN = 8
COLUMNS = (
    "rank",
    "score",
    "reference_at_least_as_high",
    "p_value",
    "expected_false_positives",
    "above_threshold",
    "id",
    "lines",
    "cut",
    "prompt",
)
_COPIES = ("copied", "drawn", "extraction_rate", "nearest_training_image")
_WIDTH = 72


def to_json(result: dict[str, Any], extraction: Extraction | None = None) -> str:
    """All fields, full precision; undefined numbers are null."""
    return json_text(result)


def to_csv(result: dict[str, Any], extraction: Extraction | None = None) -> str:
    """The ranking, full precision; undefined numbers are empty."""
    fields = COLUMNS if extraction is None else (*COLUMNS[:-1], *_COPIES, COLUMNS[-1])
    rows = (
        row
        | {
            "id": printable(row["id"]),
            "lines": " ".join(map(str, row["lines"])),
            "prompt": printable(row["prompt"]),
        }
        | _copies(row)
        for row in result["ranking"]
    )
    return to_comma_separated(rows, fields)


def to_table(result: dict[str, Any], extraction: Extraction | None = None) -> str:
    """The highest prompts, and what to make of them; then what their generations are, where that was looked at."""
    ranking, reference = result["ranking"], result["reference"]
    compared_with = (
        (*right("reference as high", drop=1), *right("expected false positives", drop=2, best="low"))
        if reference
        else ()
    )
    rows = []
    for row in ranking[:SHOWN]:
        cells = [four_digits(row["rank"]), four_digits(row["score"])]
        if reference:
            cells += [compared(row, reference["used"]), expected(row["expected_false_positives"])]
        rows.append([*cells, text.shortened(row["prompt"], _WIDTH)])
    table = Table(
        (*right("rank", best="low"), *right("score"), *compared_with, *left("prompt", least=24)),
        rows,
        title_of(result),
        rule_after=(result["threshold"] or {}).get("above"),
    )
    more = len(ranking) - SHOWN
    follow = f"{more} more prompts follow in scan.json and with --format csv." if more > 0 else ""
    compared_with_training = [] if extraction is None else blocks_of(extraction)
    return text.on_screen([table, follow, "\n".join(sentences(result)), *compared_with_training])


FORMATS: dict[str, Callable[[dict[str, Any], Extraction | None], str]] = {
    "table": to_table,
    "json": to_json,
    "csv": to_csv,
}


def title_of(result: dict[str, Any]) -> str:
    """What was ranked by what."""
    prompts, seeds = counted(result["prompts"]["scored"], "prompt"), counted(result["seeds"], "noise seed")
    return f"{prompts} by {result['detector']}, mean of {seeds}, highest first"


def sentences(result: dict[str, Any]) -> list[str]:
    """The threshold, and all that a reader must know of the files."""
    prompts, reference = result["prompts"], result["reference"]
    found = [threshold_sentence(result)]
    if reference:
        found.append(
            "Expected false positives of a line: how many of these prompts would score at least as high as it if "
            "all were like the reference prompts."
        )
        likeness = {name: value for name, value in result["likeness"].items() if value is not None}
        if likeness:
            values = ", ".join(f"{name} {value:.2f}" for name, value in likeness.items())
            found.append(
                f"Text alone, prompts against reference (AUROC; alike is 0.50, give or take {_noise(result):.2f}): "
                f"{values}. "
                "The further from 0.50, the less the stated rates hold for these prompts."
            )
        if reference["scanned_too"]:
            shared = _are(reference["scanned_too"], "reference prompt")
            found.append(f"{shared} also among the prompts: left out of the reference.")
        if reference["in_families"]:
            total = reference["used"] + reference["in_families"]
            found.append(
                f"The {total} reference prompts form {reference['used']} clusters: one of each is used, since prompts "
                "of a cluster are no independent evidence."
            )
        if reference["without_score"]:
            found.append(f"{_are(reference['without_score'], 'reference prompt')} without a score and left out.")
    if prompts["lines"] > prompts["distinct"]:
        found.append(
            f"{prompts['lines']} lines hold {prompts['distinct']} different prompts: each is scored and counted once, "
            "and keeps all its lines."
        )
    if prompts["cut"]:
        found.append(f"{_are(prompts['cut'], 'prompt')} longer than the model reads: only the beginning counts.")
    for file, fields in result.get("not_read", {}).items():  # which a scan of an older memdet does not say
        names = ", ".join(map(printable, fields[:FIELDS_SHOWN])) + (", ..." if len(fields) > FIELDS_SHOWN else "")
        found.append(f"Fields of {printable(file)} that are not read: {names}.")
    missing = prompts["distinct"] - prompts["scored"]
    if missing:
        reasons = "; ".join(map(printable, result["messages"]))
        found.append(f"{_are(missing, 'prompt')} without a score, at the end of the list ({reasons}).")
    if n_undrawn := undrawn(result):
        found.append(
            f"{undrawn_pictures(n_undrawn)}. Float16 overflows where float32 does not: scan with --dtype float32 and "
            "another --out."
        )
    return found


def headline(result: dict[str, Any]) -> str:
    """How many prompts are flagged, and how many of them would be by chance; empty where there is no threshold.

    Example:
        >>> told = {"above": 68, "status": "ok", "expected_false_positives": 1.5, "expected_false_positives_high": 5.4}
        >>> headline({"threshold": told})
        '68 flagged; expect about 1 to 2 false alarms (at most 5)'
    """
    threshold = result["threshold"]
    if threshold is None or threshold["status"] != "ok":
        return ""
    value = threshold["expected_false_positives"]
    least, about = math.floor(value), math.ceil(value)
    most = max(about, math.floor(threshold["expected_false_positives_high"]))  # a count within the bound is whole
    span = str(about) if least == about else f"{least} to {about}"
    alarms = "false alarm" if span == "1" else "false alarms"
    return f"{threshold['above']} flagged; expect about {span} {alarms} (at most {most})"


def threshold_sentence(result: dict[str, Any]) -> str:
    """The threshold with its rate and interval, or why there is none."""
    threshold, reference, n = result["threshold"], result["reference"], result["prompts"]["scored"]
    if threshold is None:
        return (
            "No threshold and no expected false positives: they take --reference FILE, prompts that this model cannot "
            "have copied from, such as captions that were held out of its training."
        )
    used = counted(reference["used"], "reference prompt")
    if threshold["status"] != "ok":
        return (
            f"No threshold: a false positive rate of {percent(threshold['fpr_asked'])} is not resolvable with {used}; "
            f"it takes {threshold['n_reference_needed']}, or an --fpr of at least {_up(1 / (reference['used'] + 1))}."
        )
    rate = _interval(threshold, "fpr", percent)
    by_chance = _interval(threshold, "expected_false_positives", expected)
    return (
        f"Threshold {four_digits(threshold['value'])}, from {used}: expected false positive rate {rate}. "
        f"{threshold['above']} of {n} prompts are above it. If all {n} were like the reference prompts, {by_chance} "
        "would be, by chance."
    )


def compared(row: dict[str, Any], n: int) -> str:
    """How many reference prompts score at least as high."""
    found = row["reference_at_least_as_high"]
    return UNDEFINED if found is None else f"{found} of {n}"


def four_digits(value: float | None) -> str:
    """A rank or a score: four significant digits, or a dash."""
    if value is None:
        return UNDEFINED
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def expected(value: float | None) -> str:
    """An expected number of prompts, three significant digits, or a dash."""
    return UNDEFINED if value is None else f"{value:.3g}" if value < 1_000 else f"{value:.0f}"


def _copies(row: dict[str, Any]) -> dict[str, Any]:
    """What is known of a row's generations, in columns."""
    found = row.get("copies") or {}
    rate = found.get("extraction_rate") or {}
    values = (
        found.get("copied"),
        found.get("drawn"),
        rate.get("value"),
        printable(found.get("nearest_training_image") or ""),
    )
    return dict(zip(_COPIES, values, strict=True))


def _noise(result: dict[str, Any]) -> float:
    """Two standard deviations of the AUROC of samples of one distribution (Mann and Whitney 1947)."""
    m, n = result["prompts"]["distinct"], result["reference"]["distinct"] - result["reference"]["scanned_too"]
    return 2 * math.sqrt((m + n + 1) / (12 * m * n))


def _interval(row: dict[str, Any], name: str, form: Callable[[float], str]) -> str:
    return bounded(form(row[name]), row[f"{name}_low"], row[f"{name}_high"], form)


def _up(share: float) -> str:
    """Rounded up to four places, so that it still is enough."""
    return f"{math.ceil(share * 1e4 - 1e-9) / 1e4:g}"


def _are(n: int, noun: str) -> str:
    return f"{counted(n, noun)} {'is' if n == 1 else 'are'}"
