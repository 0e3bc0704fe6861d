"""What controls alone can tell of a sample set, before any model is asked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.auditing.prompt_shift import duplicates, largest_families, shifts, vocabulary
from memdet.detectors import Detector, detector_classes, with_controls
from memdet.detectors.blind import BlindControl, Told
from memdet.errors import NotApplicableError, UserError
from memdet.metrics import Interval, effective_number, evaluate_scores, holm, permutation_above_half
from memdet.probing.from_sample_set import by_family, families_of, items_of
from memdet.running.work_plan import tested_items
from memdet.samplesets import SampleSet
from memdet.samplesets.evidence import refuse_contradictions
from memdet.samplesets.near_duplicates import THRESHOLD
from memdet.source_files import talking_aside

SCHEMA_VERSION = 1
LEVEL = 0.01  # of the tests, over all controls of a set; users audit many sets
DRAWS = 2_000
SPREAD = 1.5  # of scores cross-validated in 5 folds, (1 + 5 / 4)^.5 (Nadeau and Bengio 2003)
ALLOWED = 0.5  # AUROC of a text control where the spec says nothing
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def audit(sample_set: SampleSet) -> dict[str, Any]:
    """Judge the test items of a sample set by its controls.

    Near-duplicate prompts of both classes are grouped first, and the spec's own clusters are kept whole
    (:func:`~memdet.samplesets.near_duplicates.near_duplicates`). Folds and intervals keep these families together.

    A control tells the classes apart where its AUROC differs from .5 by a permutation test over families, adjusted by
    Holm over the controls of the set, at .01, and its 95 % interval lies beyond what the spec allows it. Text controls
    are allowed .5 where the spec says nothing, other controls are held to what it says alone. Both directions count,
    but for a control that is fitted to the labels, which a set without any signal pushes below .5 and whose null is
    wider (:func:`~memdet.metrics.permutation_above_half`). One such control flags the set. A set of so few families
    that no control could be told from chance is undecided.

    A set with one prompt (or image) under both labels of one model is flagged whatever its controls say: it speaks
    against itself (:mod:`memdet.samplesets.evidence`), and no run takes it. So is one with a prompt in both splits.

    Args:
        sample_set: Loaded; its model is not asked.

    Returns:
        What ``memdet audit --format json`` prints: ``controls`` (a row each), ``n_positive, n_negative, n_clusters``,
        ``n_effective`` (Kish's number of families of the class that has fewer), and of prompts ``shifts, vocabulary,
        duplicates, largest_families``; ``strata``, ``flagged`` (None where undecided) and ``verdict``. Where the set
        contradicts itself, ``contradiction`` says how. Undefined numbers are None.

    Example:
        >>> from memdet.samplesets import load_sample_set
        >>> audit(load_sample_set("mixture-2d"))["flagged"]
        False
    """
    table = tested_items(sample_set)
    labels = table["label"].to_numpy(np.int64)
    families = families_of(sample_set, table)
    scored, rows = _score_controls(sample_set, table, labels, families)
    reachable = _judge(sample_set, scored, rows, labels, families)
    prompts = table["condition"].tolist() if sample_set.has_prompts else []
    result: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "sample_set": sample_set.id,
        "version": sample_set.version,
        "title": sample_set.title,
        "content_hash": sample_set.content_hash,
        "n_positive": int(labels.sum()),
        "n_negative": int((1 - labels).sum()),
        "n_clusters": len(np.unique(families)),
        "n_effective": min(effective_number(families[labels == label]) for label in (0, 1)),
        "n_effective_positive": effective_number(families[labels == 1]),
        "n_effective_negative": effective_number(families[labels == 0]),
        "similarity": THRESHOLD if prompts else None,
        "controls": rows,
        "strata": _strata(table, scored, labels, families),
    }
    if prompts:
        result |= _of_prompts(prompts, scored, labels, families)
    result["flagged"], result["verdict"] = _verdict(rows, reachable)
    rounded: dict[str, Any] = _rounded(result | _contradiction(sample_set, result["verdict"]))
    return rounded


def _of_prompts(
    prompts: Sequence[str], scored: Sequence[tuple[Detector, Floats]], labels: Ints, families: Ints
) -> dict[str, Any]:
    """How the prompts of the classes differ."""
    measured = {d.info.title: s.tolist() for d, s in scored if d.info.access == "text" and not d.info.supervised}
    return {
        "largest_families": largest_families(prompts, labels, families),
        "duplicates": duplicates(prompts, labels, families),
        "shifts": shifts(prompts, labels, measured),
        "vocabulary": vocabulary(prompts, labels, families),
    }


def control_scores(sample_set: SampleSet, table: pd.DataFrame, control: Detector) -> tuple[Floats, str, str]:
    """Scores of a control on some items, ``[n]``, with status and message, by the code of a run.

    Args:
        sample_set: Whose items they are.
        table: The items; ``cluster`` is what folds keep together. A run takes them in the order of
            :func:`~memdet.running.work_plan.tested_items`, and keeps families together.
        control: Asks no model.
    """
    items = items_of(table, sample_set, None)
    if isinstance(control, BlindControl):
        told = Told(items)
        try:
            with talking_aside():
                values = control.values(told)
        except NotApplicableError as error:
            return np.full(len(items), math.nan), "not-applicable", str(error)
        except Exception:  # the code of a run says what happened
            values = None
        if values is not None and np.isfinite(values).all():
            return values, "ok", "; ".join(told.notes)

    from memdet.probing import Probe
    from memdet.running.scoring import score_items

    scores, statuses, _, message = score_items(None, items, control, Probe(None, items))
    status = next((s for s in statuses if s != "ok"), "ok")
    return np.asarray(scores, dtype=np.float64), status, message


def _score_controls(
    sample_set: SampleSet, table: pd.DataFrame, labels: Ints, families: Ints
) -> tuple[list[tuple[Detector, Floats]], list[dict[str, Any]]]:
    """Controls that apply with their scores, and a row for every control of the task."""
    grouped = by_family(table, families)
    controls = [d for d in with_controls([], detector_classes()) if d.info.task in {"any", sample_set.task}]
    scored, rows = [], []
    for control in controls:
        scores, status, message = control_scores(sample_set, grouped, control)
        row: dict[str, Any] = {"name": control.label, "access": control.info.access}
        if status == "ok":
            scored.append((control, scores))
            row |= _numbers(scores, labels, families)
        else:
            row |= _numbers(None, labels, families)
        rows.append(row | {"allowed": None, "p_value": None, "flagged": False, "status": status, "message": message})
    return scored, rows


def _numbers(scores: Floats | None, labels: Ints, families: Ints) -> dict[str, float | None]:
    """AUROC and TPR with intervals."""
    empty = Interval(math.nan, math.nan, math.nan)
    result = None if scores is None else evaluate_scores(scores, labels, families)
    numbers: dict[str, float | None] = {}
    for name, interval in (
        ("auroc", result.auroc if result else empty),
        ("tpr_at_1_fpr", result.tpr_at_1_fpr if result else empty),
    ):
        numbers |= {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
    return numbers


def _judge(
    sample_set: SampleSet,
    scored: Sequence[tuple[Detector, Floats]],
    rows: Sequence[dict[str, Any]],
    labels: Ints,
    families: Ints,
) -> bool:
    """Fill in what each control is allowed, its adjusted p-value and whether it flags the set.

    Returns:
        Whether families are enough for some control to be told from chance.
    """
    stated = sample_set.spec.blind_controls if sample_set.spec else {}
    by_name = {row["name"]: row for row in rows}
    # A family with both labels counts as one in each, as in the intervals.
    units = np.array([f"{label}-{family}" for label, family in zip(labels, families, strict=True)])
    tested = []
    for control, scores in scored:
        allowed = stated.get(control.info.name, ALLOWED if control.info.access == "text" else None)
        if allowed is None:
            continue
        if control.info.supervised:
            p = permutation_above_half(scores, labels, units, spread=SPREAD, draws=DRAWS)
        else:
            p = permutation_above_half(scores, labels, units, draws=DRAWS)
            p = min(1.0, 2 * min(p, permutation_above_half(-scores, labels, units, draws=DRAWS)))
        by_name[control.label]["allowed"] = allowed
        tested.append((control, p))
    for (control, _), p in zip(tested, holm([p for _, p in tested]), strict=True):
        row = by_name[control.label]
        beyond = row["auroc_low"] > row["allowed"]
        if not control.info.supervised:
            beyond = beyond or row["auroc_high"] < 1 - row["allowed"]
        row["p_value"], row["flagged"] = float(p), bool(p < LEVEL and beyond)
    smallest = 2 / math.comb(len(set(units)), len(set(units[labels == 1])))
    return smallest * len(tested) < LEVEL


def _verdict(rows: Sequence[dict[str, Any]], reachable: bool) -> tuple[bool | None, str]:
    """Whether the set is flagged, and a line that says why."""
    tested = [row for row in rows if row["allowed"] is not None]
    flagged = [row for row in tested if row["flagged"]]
    free = [row for row in rows if row["status"] == "ok" and row["allowed"] is None and row["access"] != "none"]
    free += [row for row in rows if row["status"] == "ok" and row["allowed"] is None and row["name"] != "random"]
    notes = "; the spec sets no limit to " + " and ".join(_shown(r) for r in free) if free else ""
    if flagged:
        most = max(flagged, key=lambda row: abs(row["auroc"] - 0.5))
        names = ", ".join(row["name"] for row in flagged)
        return True, (
            f"flagged: {len(flagged)} of {len(tested)} controls tell the classes apart without the model ({names}); "
            f"{_shown(most)}, allowed {most['allowed']:.2f}{notes}"
        )
    if tested and not reachable:
        return None, f"undecided: too few families of prompts to tell a control from chance{notes}"
    if tested:
        most = max(tested, key=lambda row: abs(row["auroc"] - 0.5))
        return False, f"passed: no control is beyond what is allowed; farthest from chance is {_shown(most)}{notes}"
    reasons = {row["message"] for row in rows if row["status"] == "not-applicable"}
    why = f" ({'; '.join(sorted(reasons))})" if reasons else ""
    return False, f"passed: no control is held to a limit here{why}{notes}"


def _contradiction(sample_set: SampleSet, verdict: str) -> dict[str, Any]:
    """What changes in an audit where the set speaks against itself; nothing if it does not."""
    try:
        refuse_contradictions(
            sample_set.items, "no run takes it", has_prompts=sample_set.has_prompts, noise=sample_set.protocol.noise
        )
    except UserError as error:
        return {"contradiction": str(error), "flagged": True, "verdict": f"flagged: {error}; controls: {verdict}"}
    return {}


def _shown(row: dict[str, Any]) -> str:
    return f"{row['name']} AUROC {row['auroc']:.3f} [{row['auroc_low']:.3f}, {row['auroc_high']:.3f}]"


def _strata(
    table: pd.DataFrame, scored: Sequence[tuple[Detector, Floats]], labels: Ints, families: Ints
) -> list[dict[str, Any]]:
    """Controls on each stratum of a class that has several, against the whole other class."""
    strata = table["stratum"].to_numpy(str)
    found = []
    for label in (1, 0):
        names = np.unique(strata[labels == label])
        for name in names if len(names) > 1 else ():
            own = (labels == label) & (strata == name)
            kept = own | (labels != label)
            found.append(
                {
                    "stratum": str(name),
                    "label": label,
                    "items": int(own.sum()),
                    "n_effective": effective_number(families[own]),
                    "controls": [
                        {"name": control.label} | _numbers(scores[kept], labels[kept], families[kept])
                        for control, scores in scored
                        if control.info.name != "random"
                    ],
                }
            )
    return found


def _rounded(value: Any) -> Any:
    """Six digits, and None for what is undefined."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
