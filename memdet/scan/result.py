"""From the scores of a scan to its ranking, its threshold and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from memdet.metrics import at_least_as_high, auroc, conformal_threshold, one_of_each
from memdet.samplesets.prompts import not_scanned

if TYPE_CHECKING:
    import pandas as pd

    from memdet.samplesets import PromptFile
    from memdet.samplesets.prompts import Prompt

SCHEMA_VERSION = 1
Floats = NDArray[np.float64]
LEVEL = 0.95


def scan_result(
    scores: pd.DataFrame,
    prompts: PromptFile,
    reference: PromptFile | None,
    *,
    detector: str,
    fpr: float,
    cut: Collection[str] = (),
    messages: Collection[str] = (),
) -> dict[str, Any]:
    """Rank prompts by their mean score over seeds and set a threshold on the reference.

    Args:
        scores: Of a finished scan, with the columns of :data:`memdet.results.SCORES`; other detectors in it are
            controls that read the text alone and tell how like the prompts the reference is.
        prompts, reference: The files.
        detector: Label of the detector that ranks.
        fpr: False positive rate asked for.
        cut: Texts of which the model reads only the beginning.
        messages: Why scores are missing.

    Returns:
        ``schema_version, detector, seeds``, ``prompts`` and ``reference`` (what the files held), ``threshold``,
        ``likeness`` (AUROC of each control, prompts against reference), ``not_read`` (fields that say nothing to
        memdet, by file) and ``ranking``, an object a prompt. Undefined numbers are None. Prompts without a score
        come last and have no rank.
    """
    means = _means(scores, detector)
    mean_of = {prompt.id: means.get(f"prompt:{prompt.id}", math.nan) for prompt in prompts.prompts}
    used, of_reference = _reference(means, prompts, reference)
    ordered = sorted(prompts.prompts, key=lambda p: (math.isnan(mean_of[p.id]), -mean_of[p.id]))
    scanned = np.asarray([mean_of[p.id] for p in ordered if not math.isnan(mean_of[p.id])], dtype=np.float64)
    threshold = _threshold(used, scanned, fpr) if reference is not None else None
    return {
        "schema_version": SCHEMA_VERSION,
        "detector": detector,
        "seeds": int(scores.loc[scores["detector"] == detector, "seed"].nunique()),
        "prompts": {
            "file": prompts.path.name,
            "lines": prompts.n_lines,
            "distinct": len(prompts.prompts),
            "scored": len(scanned),
            "cut": sum(prompt.text in cut for prompt in prompts.prompts),
        },
        "reference": of_reference,
        "threshold": threshold,
        "likeness": _likeness(scores, detector) if reference is not None else {},
        "messages": sorted(set(messages)),
        "not_read": {
            file.path.name: list(file.not_read) for file in (prompts, reference) if file is not None and file.not_read
        },
        "ranking": _ranking(ordered, scanned, used, threshold, cut),
    }


def _ranking(
    ordered: Sequence[Prompt], scanned: Floats, used: Floats, threshold: dict[str, Any] | None, cut: Collection[str]
) -> list[dict[str, Any]]:
    """An object a prompt.

    Args:
        ordered: Those with a score first, the highest before the others.
        scanned: Their scores.
        used: Scores of the reference.
        threshold: As in the result.
        cut: Texts of which the model reads only the beginning.
    """
    n = len(scanned)
    ranks = 1 + n - np.searchsorted(scanned[::-1], scanned, side="right")
    counts = at_least_as_high(scanned, used)
    rows = []
    for index, prompt in enumerate(ordered):
        row: dict[str, Any] = {
            "rank": None,
            "id": prompt.id,
            "lines": list(prompt.lines),
            "score": None,
            "reference_at_least_as_high": None,
            "p_value": None,
            "expected_false_positives": None,
            "above_threshold": None,
            "cut": prompt.text in cut,
            "prompt": prompt.text,
            "generations": [],
        }
        if index < n:
            row |= {"rank": int(ranks[index]), "score": float(scanned[index])}
            if len(used):
                count = int(counts[index])
                p = (1 + count) / (1 + len(used))
                row |= {"reference_at_least_as_high": count, "p_value": p, "expected_false_positives": n * p}
            if threshold is not None and threshold["value"] is not None:
                row["above_threshold"] = row["score"] > threshold["value"]
        rows.append(row)
    return rows


def to_look_at(result: dict[str, Any], top: int) -> tuple[list[int], list[int]]:
    """Positions in the ranking of the ``top`` highest prompts, and of up to ``top`` others around the threshold."""
    scored = [index for index, row in enumerate(result["ranking"]) if row["rank"] is not None]
    highest = scored[:top]
    threshold = result["threshold"]
    if threshold is None or threshold["value"] is None:
        return highest, []
    above = threshold["above"]
    around = scored[max(0, above - (top + 1) // 2) : above + top // 2]
    return highest, [index for index in around if index not in highest]


def undrawn(result: dict[str, Any]) -> int:
    """Generations that could not be drawn."""
    return sum(generation["file"] is None for row in result["ranking"] for generation in row["generations"])


def scores_of(scores: pd.DataFrame, detector: str, stratum: str) -> list[float]:
    """Mean over seeds of each prompt of a stratum, where there is one."""
    means = _means(scores[scores["stratum"] == stratum], detector)
    return [value for value in means.values() if not math.isnan(value)]


def _means(scores: pd.DataFrame, detector: str) -> dict[str, float]:
    """Mean over seeds of each item; NaN where a seed has no score."""
    own = scores[scores["detector"] == detector]
    ok = own["status"].eq("ok").groupby(own["item_id"], sort=False).all()
    means = own.groupby("item_id", sort=False)["score"].mean()
    return {str(item): float(means[item]) if ok[item] else math.nan for item in means.index}


def _reference(
    means: dict[str, float], prompts: PromptFile, reference: PromptFile | None
) -> tuple[Floats, dict[str, Any] | None]:
    """Scores of the reference, one of each cluster, and where the others went."""
    if reference is None:
        return np.empty(0), None
    others = not_scanned(prompts, reference)
    scored = [prompt for prompt in others if not math.isnan(means.get(f"reference:{prompt.id}", math.nan))]
    kept = [scored[index] for index in one_of_each([prompt.cluster for prompt in scored])] if scored else []
    described = {
        "file": reference.path.name,
        "lines": reference.n_lines,
        "distinct": len(reference.prompts),
        "scanned_too": len(reference.prompts) - len(others),
        "without_score": len(others) - len(scored),
        "in_families": len(scored) - len(kept),
        "used": len(kept),
    }
    return np.asarray([means[f"reference:{prompt.id}"] for prompt in kept], dtype=np.float64), described


def _threshold(reference: Floats, scanned: Floats, fpr: float) -> dict[str, Any]:
    found = conformal_threshold(reference, fpr, level=LEVEL)
    n = len(scanned)
    rates = {"fpr": found.fpr.value, "fpr_low": found.fpr.low, "fpr_high": found.fpr.high}
    numbers = {
        "value": found.value,
        **rates,
        "expected_false_positives": n * found.fpr.value,
        "expected_false_positives_low": n * found.fpr.low,
        "expected_false_positives_high": n * found.fpr.high,
    }
    resolved = not math.isnan(found.value)
    return {
        "status": "ok" if resolved else "not resolvable",
        "fpr_asked": fpr,
        "level": LEVEL,
        "n_reference_needed": found.n_needed,
        "above": int((scanned > found.value).sum()) if resolved else None,
        **(numbers if resolved else dict.fromkeys(numbers)),
    }


def _likeness(scores: pd.DataFrame, detector: str) -> dict[str, float | None]:
    """AUROC of each text control, prompts against reference; None where it has a score missing."""
    found: dict[str, float | None] = {}
    for label, of_control in scores[scores["detector"] != detector].groupby("detector", sort=False):
        usable = bool(of_control["status"].eq("ok").all())
        labels = of_control["stratum"].eq("prompt").astype("int64")
        found[str(label)] = auroc(of_control["score"], labels) if usable else None
    return found
