"""Questions and worlds: which sample sets of the board are ranked together, and which of their items are one unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from memdet.detectors.base import is_control
from memdet.leaderboard.board import natural
from memdet.results.run import SetKey
from memdet.samplesets import SampleSetSpec, load_spec, sample_set_ids
from memdet.samplesets.evidence import joined_clusters, same_text
from memdet.tables.rows import Row
from memdet.tables.run_table import unranked

CONTROL_QUESTIONS = frozenset({"membership"})
"""Questions that check detectors and rank none: nobody should find anything."""
SATURATED = 0.995


@dataclass(frozen=True)
class Cell:
    """The sample sets of one question in one world.

    Attributes:
        question, world: As their specs say.
        sets: Sample sets with their versions.
    """

    question: str
    world: str
    sets: tuple[SetKey, ...]


def spec_of(key: SetKey) -> SampleSetSpec | None:
    """Spec of this version of a sample set, if memdet has it."""
    if key[0] not in sample_set_ids():
        return None
    spec = load_spec(key[0])
    return spec if spec.version == key[1] else None


def asking_specs(keys: Iterable[SetKey]) -> dict[SetKey, SampleSetSpec]:
    """Specs of the sets that ask a question, of the newest version of each; control questions are none."""
    newest = dict(sorted(keys))
    specs = {key: spec_of(key) for key in newest.items()}
    return {
        key: spec
        for key, spec in specs.items()
        if spec is not None and spec.question is not None and spec.question not in CONTROL_QUESTIONS
    }


def enough_run(rows: Mapping[SetKey, Sequence[Row]]) -> list[SetKey]:
    """Sets on which half of the common detectors have been run, and a control has scores.

    A detector is common where it was run on half of the sets. A set that is new and has few entries would else leave
    everybody without a rank.

    Args:
        rows: By set.
    """
    run_on = Counter(row["detector"] for of_set in rows.values() for row in of_set if not is_control(row["access"]))
    common = {label for label, sets in run_on.items() if 2 * sets >= len(rows)}
    kept = []
    for key, of_set in rows.items():
        here = {row["detector"] for row in of_set}
        has_control = any(is_control(row["access"]) and row["auroc"] is not None for row in of_set)
        if has_control and 2 * len(common & here) >= len(common):
            kept.append(key)
    return kept


def is_saturated(rows: Sequence[Row], *, least: int = 1) -> bool:
    """Whether half of the ranked detectors of a set, controls aside, reach ``SATURATED``: it tells nobody apart.

    Args:
        rows: Of the set.
        least: Detectors that it takes.
    """
    values = [row["auroc"] for row in rows if not unranked(row) and not is_control(row["access"])]
    values = [value for value in values if value is not None]
    return len(values) >= least and 2 * sum(value >= SATURATED for value in values) >= len(values)


def cells_of(specs: Mapping[SetKey, SampleSetSpec]) -> list[Cell]:
    """Cells of sets, those of a question together: first the questions that most worlds ask.

    Args:
        specs: From :func:`asking_specs`.
    """
    found: dict[tuple[str, str], list[SetKey]] = {}
    for key, spec in specs.items():
        found.setdefault((str(spec.question), str(spec.world)), []).append(key)
    worlds = Counter(question for question, _ in found)
    order = sorted(found, key=lambda cell: (-worlds[cell[0]], natural(*cell)))
    return [Cell(question, world, tuple(sorted(found[question, world]))) for question, world in order]


def units_of(
    items: Mapping[SetKey, pd.DataFrame],
    specs: Mapping[SetKey, SampleSetSpec],
    conditions: Mapping[SetKey, Mapping[str, str]],
) -> dict[SetKey, list[str]]:
    """What is drawn together over all sets: clusters of one name in one world, and those that hold the same prompt.

    Args:
        items: ``cluster`` by item id, for each set.
        specs: Of the sets.
        conditions: What each item asks, by item id, as far as it is known.

    Returns:
        The name of each item's unit, in the order of the items.
    """
    names: list[str] = []
    evidence: list[int] = []
    seen: dict[tuple[str, str], int] = {}
    for key, of_set in items.items():
        spec, texts = specs[key], conditions.get(key, {})
        for item, cluster in of_set["cluster"].items():
            name = f"{spec.world}/{cluster}"
            text = texts.get(str(item)) if spec.columns.prompt is not None else None
            what = ("cluster", name) if text is None else ("prompt", same_text(text))
            names.append(name)
            evidence.append(seen.setdefault(what, len(seen)))
    joined = iter(joined_clusters(names, np.array(evidence, dtype=np.int64)))
    return {key: [next(joined) for _ in range(len(of_set))] for key, of_set in items.items()}
