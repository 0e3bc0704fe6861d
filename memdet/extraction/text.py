"""An extraction as text: for a terminal of 80 places, as CSV and as a file of samples."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from memdet.extraction.result import Extraction, PromptResult
from memdet.extraction.rule import ALPHA, NEIGHBOURS, Rule
from memdet.extraction.sscd import Sscd
from memdet.io_utils import printable
from memdet.metrics import Interval
from memdet.tables.formats import text
from memdet.tables.formats.csv import to_csv as comma_separated
from memdet.tables.numbers import UNDEFINED, bounded, counted, number, percent, undrawn_pictures
from memdet.tables.table import Block, Table, left, right

SHOWN = 20  # prompts in a terminal
PLACES = 80  # of a terminal
_NAME, _PROMPT = 16, 21
SAMPLES = ("id", "prompt", "memorized", "stratum", "extraction_rate", "nearest_training_image")
GENERATIONS = (
    "id",
    "prompt",
    "seed",
    "file",
    "nearest_training_image",
    "distance",
    "ratio",
    "copied",
    "sscd",
    "sscd_training_image",
)


def to_table(found: Extraction) -> str:
    """The prompts that give back most, and what to make of them, in 80 places."""
    return text.on_screen(blocks_of(found))


def blocks_of(found: Extraction) -> list[Block]:
    """The table, the answer and what to make of it, for a terminal."""
    more = len(found.prompts) - SHOWN
    follow = f"{more} more prompts follow in samples.csv." if more > 0 else ""
    lines = "\n".join(_filled(sentence) for sentence in [follow, *sentences(found)] if sentence)
    return [title_of(found), table_of(found), _filled(lead(found)), lines]


def table_of(found: Extraction) -> Table:
    """The prompts that give back most; those below the rule never did."""
    shown = found.prompts[:SHOWN]
    rows = [
        [
            copied_of(row),
            rate_of(row),
            number(row.copies.closest.ratio, places=2),
            name_of(row.copies.closest.nearest),
            text.shortened(row.prompt, _PROMPT),
        ]
        for row in shown
    ]
    columns = (
        *right("copied", "rate [95 %]"),
        *right("ratio", drop=1, best="low"),
        *left("nearest image", drop=2),
        *left("prompt", least=12),
    )
    above = sum(row.copies.copied > 0 for row in shown)
    return Table(columns, rows, rule_after=above if 0 < above < len(rows) else None)


def to_samples(found: Extraction) -> str:
    """A file of samples for ``memdet run``: a row a prompt, memorized or not by its measured extraction rate.

    Prompts of which no generation could be drawn are left out.
    """
    rows = (
        {
            "id": row.id,
            "prompt": row.prompt,
            "memorized": row.label,
            "stratum": row.stratum,
            "extraction_rate": row.copies.rate.value,
            "nearest_training_image": row.copies.closest.nearest,
        }
        for row in found.prompts
        if row.copies.rate is not None
    )
    return comma_separated(rows, SAMPLES)


def to_generations(found: Extraction) -> str:
    """A row a generation: its nearest training image, full precision; what is undefined is empty."""
    return comma_separated(_generations(found), GENERATIONS)


FORMATS: dict[str, Callable[[Extraction], str]] = {
    "table": to_table,
    "json": Extraction.to_json,
    "csv": lambda found: printable_lines(to_samples(found)),
}


def title_of(found: Extraction) -> str:
    """What was compared with what."""
    return (
        f"{counted(len(found.prompts), 'prompt')}, {counted(found.seeds, 'noise seed')} each, against "
        f"{counted(found.rule.training_images, 'training image')}"
    )


def lead(found: Extraction) -> str:
    """The answer."""
    n, copied, partly = len(found.prompts), found.count("copied"), found.count("partly copied")
    if not copied + partly:
        answer = f"None of {counted(n, 'prompt')} gave back a training image in any of {found.seeds} generations."
    else:
        also = f"; {partly} more did in some" if partly else ""
        answer = (
            f"{copied} of {counted(n, 'prompt')} gave back a training image in at least half of {found.seeds} "
            f"generations{also}."
        )
    if found.share is None:
        return answer
    share = bounded(_percent(found.share.value), found.share.low, found.share.high, _percent)
    return f"{answer} Of all generations {share} are copies."


def sentences(found: Extraction) -> list[str]:
    """The rule, what SSCD says, and all that a reader must know of the files."""
    told = [rule_sentence(found.rule), sscd_sentence(found)]
    told += [note for note in map(printable, found.notes)]
    if n_cut := sum(row.cut for row in found.prompts):
        verb = "is" if n_cut == 1 else "are"
        told.append(f"{counted(n_cut, 'prompt')} {verb} longer than the model reads: only the beginning counts.")
    if found.undrawn:
        told.append(
            f"{undrawn_pictures(found.undrawn)}. Float16 overflows where float32 does not: take --dtype float32 and "
            "another --out."
        )
    labels = {row.label for row in found.prompts if row.copies.rate is not None}
    if len(labels) == 1:
        which = "memorized" if labels == {1} else "not memorized"
        told.append(f"All prompts of samples.csv are labelled {which}; memdet run needs some of both.")
    return told


def rule_sentence(rule: Rule) -> str:
    """When a generation counts as a copy, and what that is worth."""
    fewer = f", all there are, for {NEIGHBOURS} are not" if rule.neighbours < NEIGHBOURS else ""
    start = (
        f"A generation counts as a copy where its pixel distance to the nearest training image is less than "
        f"{number(rule.threshold, places=2)} of its mean distance to the {rule.neighbours} nearest{fewer}. "
    )
    if rule.false_copies is None:
        why = (
            f"That is the rule of Carlini et al. 2023 (alpha {number(ALPHA, places=1)}), not a measured rate; with few "
            "training images it is lax. Reference prompts, which were never trained, would calibrate it."
        )
    else:
        rate = bounded(_percent(rule.false_copies.value), rule.false_copies.low, rule.false_copies.high, _percent)
        why = (
            f"So near lie {rate} of the generations of prompts like the {rule.reference_prompts} reference prompts "
            f"({rule.reference_generations} generations), which were never trained."
        )
    return f"{start}{why} {_alike(rule)}"


def sscd_sentence(found: Extraction) -> str:
    """Whether SSCD says something here, and where it says something else than the pixels."""
    sscd = found.sscd
    if sscd.status == "not installed":
        return f"SSCD was not asked: {printable(sscd.reason)}."
    if sscd.status == "not valid":
        return f"SSCD is not shown, for it is not valid on these pictures: {_alike_by_sscd(sscd)}."
    matches = [match for row in found.prompts for match in row.copies.matches if match.sscd is not None]
    by_sscd = [match for match in matches if match.sscd is not None and match.sscd > sscd.threshold]
    both = sum(match.copied is True for match in by_sscd)
    return (
        f"SSCD (a cosine above {number(sscd.threshold, places=1)} is a copy) is valid here ({_alike_by_sscd(sscd)}): "
        f"it takes {len(by_sscd)} of {counted(len(matches), 'generation')} for copies, and pixels {both} of these. "
        "It also finds copies that are moved, cropped or mirrored, which pixels do not. Labels go by pixels."
    )


def copied_of(row: PromptResult) -> str:
    """How many generations are copies, of how many."""
    return f"{row.copies.copied} of {row.copies.drawn}"


def rate_of(row: PromptResult) -> str:
    """The extraction rate with its interval."""
    return interval_of(row.copies.rate)


def interval_of(rate: Interval | None) -> str:
    """A rate with its interval, two places."""
    if rate is None:
        return UNDEFINED
    return bounded(_two(rate.value), rate.low, rate.high, _two)


def name_of(file: str | None, places: int = _NAME) -> str:
    """The name of a training image; of a long one the end, which tells it from the others."""
    if file is None:
        return UNDEFINED
    from rich.cells import cell_len

    name = printable(file)
    if cell_len(name) <= places:
        return name
    while cell_len(name) >= places:
        name = name[1:]
    return f"…{name}"


def printable_lines(content: str) -> str:
    """Text in lines, in which nothing steers a terminal."""
    return "\n".join(map(printable, content.split("\n")))


def _alike(rule: Rule) -> str:
    if rule.alike < 0.01:
        return "Hardly any training image is so near to another one."
    return (
        f"So near to another one are {_percent(rule.alike)} of the training images themselves: near-duplicates, or "
        "pictures of one kind, for which the rule is lax."
    )


def _alike_by_sscd(sscd: Sscd) -> str:
    parts = [f"one in a hundred training images is as like another one as {number(sscd.among, places=2)}"]
    if sscd.of_reference is not None:
        parts.append(f"generations of reference prompts reach {number(sscd.of_reference, places=2)}")
    limit = f", and a copy is said to begin at {number(sscd.threshold, places=1)}" if sscd.status != "valid" else ""
    return " and ".join(parts) + limit


def _generations(found: Extraction) -> Iterator[dict[str, Any]]:
    for row in found.prompts:
        for match in row.copies.matches:
            yield {
                "id": row.id,
                "prompt": row.prompt,
                "seed": match.seed,
                "file": match.file,
                "nearest_training_image": match.nearest,
                "distance": match.distance,
                "ratio": match.ratio,
                "copied": None if match.copied is None else int(match.copied),
                "sscd": match.sscd,
                "sscd_training_image": match.most_similar,
            }


def _two(value: float) -> str:
    return number(value, places=2)


def _filled(sentence: str) -> str:
    """A sentence in lines of a terminal."""
    return textwrap.fill(sentence, PLACES)


def _percent(share: float) -> str:
    """A share with a space that no line breaks at."""
    return ("0 %" if share < 1e-4 else percent(share)).replace(" ", "\u00a0")
