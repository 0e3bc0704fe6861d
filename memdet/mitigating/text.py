"""A comparison of mitigations as text: for a terminal of 80 places, in Markdown and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from memdet.io_utils import json_text
from memdet.metrics import Interval
from memdet.metrics._kernel_distance import KernelDistance
from memdet.mitigating.gated import Gated
from memdet.mitigating.generations import Generations
from memdet.mitigating.measures import KINDS, LEVEL, Measured
from memdet.mitigation.registry import COMPARED
from memdet.tables.formats import markdown, text
from memdet.tables.numbers import UNDEFINED, bounded, count, counted, number, p_value, percent, quantity, signed
from memdet.tables.table import Block, Table, left, notes_by_message, right

SCHEMA_VERSION = 1
PLACES = 80  # of a terminal
_NAME = 27
UNJUDGED = (
    "Right and KID are not known: the classifier that ships with memdet knows grey garments of 32 x 32, and captions "
    "that name one."
)
_FRONT, _LUCK = "*", "~"


@dataclass(frozen=True)
class Comparison:
    """A run of mitigations and what it shows.

    Attributes:
        run: The generations.
        rows: A row a mitigation.
        gated: A row for each pair of a detector and a mitigation, where a run of detectors was named.
        fpr: At which these detectors flag.
    """

    run: Generations
    rows: Sequence[Measured]
    gated: Sequence[Gated] = ()
    fpr: float = float("nan")


def to_text(found: Comparison) -> str:
    """Two tables and what to make of them, in 80 places."""
    return text.on_screen(_blocks(found, _NAME))


def to_markdown(found: Comparison) -> str:
    """The same in Markdown."""
    return markdown.document(_blocks(found, None))


def to_json(found: Comparison) -> str:
    """All numbers in full precision; what is undefined is null."""
    run = found.run
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "sample_set": run.sample_set,
        "steps": run.steps,
        "guidance": run.guidance,
        "seeds": len(run.seeds),
        "items": {kind: int((run.items["label"] == label).sum()) for kind, label in KINDS.items()},
        "rule": asdict(run.rule),
        "mitigations": [_plain(row) for row in found.rows],
    }
    if found.gated:
        content |= {"fpr": found.fpr, "gated": [asdict(row) for row in found.gated]}
    return json_text(content)


FORMATS: dict[str, Callable[[Comparison], str]] = {"table": to_text, "markdown": to_markdown, "json": to_json}


def _plain(row: Measured) -> dict[str, Any]:
    content = asdict(row)
    content["kernel"] = None if row.kernel is None else row.kernel._asdict()
    content["beats_reseed"] = row.beats_reseed
    return content


def _blocks(found: Comparison, width: int | None) -> list[Block]:
    said = notes_by_message((row.label, row.message) for row in found.rows)
    marks = (
        f"{_FRONT}: on the front of copies against right, where no other one does better in both. {_LUCK}: does not "
        f"copy significantly less than reseed (at {LEVEL:g}), so that luck alone may explain what it does."
    )
    notes = [*sentences(found), marks, *said]
    lines = notes if width is None else [textwrap.fill(note, PLACES) for note in notes]
    separator = "\n" if width is not None else "\n\n"
    measured = (_extraction(found.rows, width), _utility(found.rows, width))
    return [title(found.run), *measured, separator.join(lines), *_gates(found, width)]


def _gates(found: Comparison, width: int | None) -> list[Block]:
    """A table for each mitigation, and what its columns are."""
    columns = (
        *left("detector"),
        *right("flagged", drop=3, best="low"),
        *right("ord.", drop=2, best="low"),
        *right("copies [95 %]", best="low"),
        *right("right", drop=5),
        *right("ord.", drop=4),
        *right("evaluations", drop=6, best="low"),
    )
    blocks: list[Block] = [
        Table(columns, [_gate(cells, width) for cells in rows], f"{label}, of what a detector flags")
        for label, rows in gates(found)
    ]
    if blocks:
        note = gate_note(found.fpr)
        blocks.append(note if width is None else textwrap.fill(note, PLACES))
    return blocks


def gates(found: Comparison) -> list[tuple[str, list[list[str]]]]:
    """Cells of the table of each mitigation, the detector that leaves the fewest copies first."""
    tables = []
    for label in dict.fromkeys(row.mitigation for row in found.gated):
        own = [row for row in found.gated if row.mitigation == label]
        own.sort(
            key=lambda row: (row.copied.value, -row.faithful["ordinary"].value if "ordinary" in row.faithful else 0.0)
        )
        tables.append((label, [_cells_of_gate(row) for row in own]))
    return tables


def gate_note(fpr: float) -> str:
    """What the columns of gated mitigation are."""
    return (
        f"Flagged: share of memorized and of ordinary captions whose conformal p-value is at most {percent(fpr)}; "
        "these alone are mitigated. Copies: of all memorized captions. Evaluations: of one generation with the "
        "detector, over captions of which half are memorized. #: control, which never calls the model."
    )


def _gate(cells: list[str], width: int | None) -> list[str]:
    return [cells[0] if width is None else text.shortened(cells[0], width), *cells[1:]]


def _cells_of_gate(row: Gated) -> list[str]:
    return [
        f"{row.detector} #" if row.is_control else row.detector,
        *(_two(row.flagged[kind]) for kind in KINDS),
        share_told(row.copied),
        *(value_told(row.faithful.get(kind)) for kind in KINDS),
        count(round(row.evaluations, 1)),
    ]


def title(run: Generations) -> str:
    """What was generated from."""
    memorized, ordinary = (int((run.items["label"] == label).sum()) for label in KINDS.values())
    return (
        f"{run.sample_set}: {counted(memorized, 'memorized caption')} and {ordinary} ordinary, "
        f"{counted(len(run.seeds), 'noise seed')}"
    )


def _extraction(rows: Sequence[Measured], width: int | None) -> Table:
    headers = [part for label in COMPARED for part in (f"- {label}", "p")]
    differences = (column for header in headers for column in right(header, drop=2 if header == "p" else 1))
    columns = (*left("mitigation"), *right("copies [95 %]", best="low"), *differences)
    return Table(columns, [[_name(row, width), share_told(row.copied), *_against(row)] for row in rows])


def _against(row: Measured) -> list[str]:
    cells = []
    for label in COMPARED:
        difference = (row.against or {}).get(label)
        adjusted = (row.adjusted or {}).get(label)
        cells += [
            UNDEFINED if difference is None else signed(difference.interval.value),
            UNDEFINED if adjusted is None else p_value(adjusted),
        ]
    return cells


def _utility(rows: Sequence[Measured], width: int | None) -> Table:
    columns = (
        *left("mitigation"),
        *right("right", drop=9),
        *right("ord.", drop=4),
        *right("div.", drop=6),
        *right("ord.", drop=3),
        *right("KID (s.e.)", drop=7, best="low"),
        *right("F", drop=5, best="low"),
        *right("VJP", drop=1, best="low"),
        *right("s", drop=8, best="low"),
    )
    return Table(columns, [[_name(row, width), *_useful(row)] for row in rows])


def _useful(row: Measured) -> list[str]:
    right_ = [value_told((row.faithful or {}).get(kind)) for kind in KINDS]
    diverse = [value_told((row.diverse or {}).get(kind)) for kind in KINDS]
    cost = [UNDEFINED if value is None else count(round(value, 1)) for value in (row.forwards, row.vjps)]
    seconds = UNDEFINED if row.seconds is None else quantity(row.seconds)
    return [*right_, *diverse, kernel_told(row.kernel), *cost, seconds]


def _name(row: Measured, width: int | None) -> str:
    marks = (_FRONT if row.on_front else "", _LUCK if row.beats_reseed is False else "")
    if width is None:
        return " ".join(filter(None, (row.label, *marks)))
    return text.shortened(f"{marks[0]:1}{marks[1]:1} {row.label}", width)


def share_told(share: Interval | None) -> str:
    """A share with its interval."""
    if share is None:
        return UNDEFINED
    low, high = max(0.0, share.low), min(1.0, share.high)
    return bounded(_two(share.value), low, high, _two)


def value_told(share: Interval | None) -> str:
    """A share or a distance alone."""
    return UNDEFINED if share is None else _two(share.value)


def kernel_told(distance: KernelDistance | None) -> str:
    """A kernel distance with its standard error."""
    return UNDEFINED if distance is None else f"{_two(distance.value)} ({_two(distance.error)})"


def _two(value: float) -> str:
    return number(value, places=2)


def headline(found: Comparison) -> str:
    """How many methods do more than luck."""
    none, reseed = (next((row for row in found.rows if row.label == label), None) for label in COMPARED)
    judged = [row for row in found.rows if not row.is_control and row.beats_reseed is not None]
    better = sum(bool(row.beats_reseed) for row in judged)
    lead = f"{better} of {counted(len(judged), 'method')} copy significantly less than another noise alone does"
    levels = [
        f"{_two(row.copied.value)} {told}"
        for row, told in ((none, "without mitigation"), (reseed, "from another noise"))
        if row is not None and row.copied is not None
    ]
    return f"{lead}. Copies: {', '.join(levels)}." if levels else f"{lead}."


def sentences(found: Comparison) -> list[str]:
    """What the columns are, and what a reader must know of the rule."""
    run = found.run
    told = [
        "Copies: share of the generations of memorized captions that lie nearer than "
        f"{number(run.rule.threshold, places=4)} (root mean square, in latents) to the planted image. Its difference "
        "from none and from reseed, which is another noise alone; p by a bootstrap over captions, after Holm.",
        "Right: share that shows the garment of the caption, of memorized and of ordinary captions, by the "
        "garment-classifier. Div.: mean distance of two seeds of a caption. KID: from ordinary generations to those of "
        "memorized captions. F, VJP, s: of one generation.",
    ]
    if not any(row.faithful for row in found.rows):
        told.append(UNJUDGED)
    if (run.steps, run.guidance) != (run.rule.steps, run.rule.guidance):
        told.append(
            f"The threshold was set at {run.rule.steps} steps and guidance {run.rule.guidance:g}, where "
            f"{percent(0.01)} of the generations of captions that were never trained lie so near to any image; here "
            f"are {run.steps} and {run.guidance:g}."
        )
    return told
