"""Pareto fronts: a detector is on one if every other with an equal or a higher accuracy costs more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from memdet.detectors.base import is_control

Row = dict[str, Any]
MEASURES = {"auroc": "AUROC", "tpr_at_1_fpr": "TPR at 1 % FPR"}
ORACLE = "training-data"  # access of detectors that look at the training images: never on a front


@dataclass(frozen=True)
class SetFronts:
    """One sample set of a run.

    Attributes:
        name: Of the sample set.
        rows: Of all detectors that have numbers.
        fronts: By measure, cheapest first; a measure that the set does not resolve is left out.
        controls: Row of the best control by each measure of ``fronts``, where there is a control.
    """

    name: str
    rows: list[Row]
    fronts: dict[str, list[Row]]
    controls: dict[str, Row]


def evaluations(row: Row) -> float:
    """Network evaluations an item: forwards, JVPs and VJPs, each counted as one, over all noise seeds."""
    return float((row["forwards"] + row["jvps"] + row["vjps"]) * row["seeds"])


def may_lead(row: Row) -> bool:
    """Whether a row may stand on a front: controls and oracles do not."""
    return not is_control(row["access"]) and row["access"] != ORACLE


def pareto_front(rows: Iterable[Row], measure: str) -> list[Row]:
    """Rows, cheapest first: every other of an equal or a higher accuracy costs more. No controls, no oracles."""
    front: list[Row] = []
    kept = [row for row in rows if row[measure] is not None and may_lead(row)]
    for row in sorted(kept, key=lambda row: (evaluations(row), -row[measure])):
        if not front or row[measure] > front[-1][measure]:
            front.append(row)
    return front


def fronts_of(rows: Sequence[Row]) -> list[SetFronts]:
    """Fronts of each sample set, in the order of the rows; sets without any numbers are left out.

    Args:
        rows: From :func:`~memdet.tables.report_rows`, of one run.
    """
    found = []
    for name, group in groupby(rows, key=lambda row: row["sample_set"]):
        usable = [row for row in group if row["status"] == "ok"]
        fronts = {measure: pareto_front(usable, measure) for measure in MEASURES}
        fronts = {measure: front for measure, front in fronts.items() if front}
        controls = {}
        for measure in fronts:
            known = [row for row in usable if is_control(row["access"]) and row[measure] is not None]
            if known:
                controls[measure] = max(known, key=lambda row: row[measure])
        if fronts:
            found.append(SetFronts(str(name), usable, fronts, controls))
    return found
