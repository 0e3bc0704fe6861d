"""A scan as text: for a terminal, as CSV or JSON. Control characters of prompts are written as escapes."""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Callable
from typing import Any

SHOWN = 20  # prompts in a terminal
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
_WIDTH = 72


def printable(text: str) -> str:
    r"""Text in which nothing can steer a terminal or turn the reading direction; such characters become escapes.

    Example:
        >>> printable("red\x1b[31m")
        'red\\x1b[31m'
    """
    return "".join(_visible(letter) for letter in text)


def to_json(result: dict[str, Any]) -> str:
    """All fields, full precision; undefined numbers are null."""
    return json.dumps(result, indent=2)


def to_csv(result: dict[str, Any]) -> str:
    """The ranking, full precision; undefined numbers are empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in result["ranking"]:
        texts = {
            "id": printable(row["id"]),
            "lines": " ".join(map(str, row["lines"])),
            "prompt": printable(row["prompt"]),
        }
        writer.writerow([(row | texts)[name] for name in COLUMNS])
    return buffer.getvalue().rstrip("\n")


def to_table(result: dict[str, Any]) -> str:
    """The highest prompts, and what to make of them."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    output = io.StringIO()
    console = Console(width=1_000, file=output, highlight=False, markup=False, emoji=False)
    ranking, reference = result["ranking"], result["reference"]
    table = Table(title=title_of(result), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    names = ["rank", "score", "reference as high", "expected false positives", "prompt"]
    shown_columns = names if reference else [names[0], names[1], names[4]]
    for name in shown_columns:
        table.add_column(name, justify="left" if name == "prompt" else "right", no_wrap=True)
    above = (result["threshold"] or {}).get("above")
    for index, row in enumerate(ranking[:SHOWN]):
        prompt = Text(printable(row["prompt"]))
        prompt.truncate(_WIDTH, overflow="ellipsis")
        cells: list[str | Text] = [number(row["rank"]), number(row["score"])]
        if reference:
            cells += [compared(row, reference["used"]), count(row["expected_false_positives"])]
        table.add_row(*cells, prompt, end_section=index + 1 == above)
    console.print(table)
    if len(ranking) > SHOWN:
        console.print(f"{len(ranking) - SHOWN} more prompts follow in scan.json and with --format csv.\n")
    for sentence in sentences(result):
        console.print(sentence)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines())


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {"table": to_table, "json": to_json, "csv": to_csv}


def title_of(result: dict[str, Any]) -> str:
    """What was ranked by what."""
    seeds = f"{result['seeds']} noise seed" + ("s" if result["seeds"] > 1 else "")
    scored = result["prompts"]["scored"]
    return f"{scored} prompt{'s' if scored != 1 else ''} by {result['detector']}, mean of {seeds}, highest first"


def sentences(result: dict[str, Any]) -> list[str]:
    """The threshold, and all that a reader must know of the files."""
    prompts, reference = result["prompts"], result["reference"]
    found = [threshold_sentence(result)]
    if reference:
        found.append(
            "Expected false positives of a line: how many of these prompts would score at least as high if all were "
            "like the reference."
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
            number_of = _are(reference["scanned_too"], "reference prompt")
            found.append(f"{number_of} also among the prompts: left out of the reference.")
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
    missing = prompts["distinct"] - prompts["scored"]
    if missing:
        reasons = "; ".join(map(printable, result["messages"]))
        found.append(f"{_are(missing, 'prompt')} without a score, at the end of the list ({reasons}).")
    return found


def threshold_sentence(result: dict[str, Any]) -> str:
    """The threshold with its rate and interval, or why there is none."""
    threshold, reference, n = result["threshold"], result["reference"], result["prompts"]["scored"]
    if threshold is None:
        return (
            "No threshold and no expected false positives: they take --reference FILE, prompts that this model cannot "
            "have copied from, such as captions that were held out of its training."
        )
    used = f"{reference['used']} reference prompt{'s' if reference['used'] != 1 else ''}"
    if threshold["status"] != "ok":
        return (
            f"No threshold: a false positive rate of {percent(threshold['fpr_asked'])} is not resolvable with {used}; "
            f"it takes {threshold['n_reference_needed']}, or an --fpr of at least {_up(1 / (reference['used'] + 1))}."
        )
    rate = _interval(threshold, "fpr", percent)
    expected = _interval(threshold, "expected_false_positives", count)
    return (
        f"Threshold {number(threshold['value'])}, from {used}: expected false positive rate {rate}. "
        f"{threshold['above']} of {n} prompts are above it; if all were like the reference, {expected} would be."
    )


def compared(row: dict[str, Any], n: int) -> str:
    """How many reference prompts score at least as high."""
    found = row["reference_at_least_as_high"]
    return "-" if found is None else f"{found} of {n}"


def number(value: float | None) -> str:
    """Four significant digits, or a dash."""
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def count(value: float | None) -> str:
    """An expected number of prompts, three significant digits, or a dash."""
    return "-" if value is None else f"{value:.3g}" if value < 1_000 else f"{value:.0f}"


def percent(share: float) -> str:
    """A share in percent, two significant digits.

    Example:
        >>> percent(0.0099)
        '0.99 %'
    """
    return f"{float(f'{100 * share:.2g}'):g} %"


def _noise(result: dict[str, Any]) -> float:
    """Two standard deviations of the AUROC of samples of one distribution (Mann and Whitney 1947)."""
    m, n = result["prompts"]["distinct"], result["reference"]["distinct"] - result["reference"]["scanned_too"]
    return 2 * math.sqrt((m + n + 1) / (12 * m * n))


def _interval(row: dict[str, Any], name: str, form: Callable[[float], str]) -> str:
    return f"{form(row[name])} [{form(row[f'{name}_low'])}, {form(row[f'{name}_high'])}]"


def _up(share: float) -> str:
    """Rounded up to four places, so that it still is enough."""
    return f"{math.ceil(share * 1e4 - 1e-9) / 1e4:g}"


def _are(n: int, noun: str) -> str:
    return f"{n} {noun} is" if n == 1 else f"{n} {noun}s are"


def _visible(letter: str) -> str:
    if letter.isprintable():
        return letter
    if unicodedata.category(letter) == "Zs":  # spaces of any width
        return " "
    return letter.encode("unicode_escape").decode("ascii")
