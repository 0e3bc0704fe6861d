"""The rows of a table: one a sample set and detector, from a run's score file alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from memdet.errors import UserError
from memdet.metrics import (
    METRICS_VERSION,
    Evaluation,
    Interval,
    effective_number,
    evaluate_scores,
    evaluate_table,
    gain,
)
from memdet.results.scores import MeanScores, RunScores, ScoreTables, sets_of
from memdet.results.store import read_manifest
from memdet.running.memory import give_back_memory
from memdet.tables.set_statistics import groups_of, split_of

CONTROLS = {"none", "text"}
Row = dict[str, Any]
"""A row of a table, with the keys of :data:`FIELDS`."""
Rows = Sequence[Row]
FIELDS = (
    "sample_set",
    "sample_set_version",
    "stratum",
    "detector",
    "detector_version",
    "access",
    "n_positive",
    "n_negative",
    "n_clusters",
    "n_effective",
    "auroc",
    "auroc_low",
    "auroc_high",
    "tpr_at_1_fpr",
    "tpr_at_1_fpr_low",
    "tpr_at_1_fpr_high",
    "realised_fpr",
    "gain_over_control",
    "gain_over_control_low",
    "gain_over_control_high",
    "best_control",
    "tie_group",
    "rank_correlation",
    "variance_items",
    "variance_seeds",
    "variance_probes",
    "forwards",
    "jvps",
    "vjps",
    "seconds_per_item",
    "seeds",
    "metrics_version",
    "run",
    "status",
    "message",
)


def report_rows(runs: Sequence[Path], *, by_stratum: bool = False) -> list[dict[str, Any]]:
    """Compute the table of one or more finished runs.

    The mean over seeds is taken per item, then metrics over items. A detector with a row that is not ``ok`` has no
    numbers: its status and message say why. Undefined numbers are None. ``rank_correlation`` is Spearman's between
    scores and the measured extraction of the items. ``tie_group`` is that of :func:`~memdet.metrics.tie_groups` among
    the detectors of the table, controls included. ``variance_items``, ``variance_seeds`` and ``variance_probes`` are
    shares of the AUROC's variance (:func:`~memdet.metrics.variance_split`): None with one noise seed; the probes' is
    None, and part of the seeds', unless the run holds the detector with several values of its option ``draw``.

    Args:
        runs: Run directories.
        by_stratum: A table for each stratum of memorized items, against all items that are not, where a sample set has
            more than one.

    Returns:
        Dictionaries with the keys of ``FIELDS``, in the order of the runs' sample sets and detectors; ``stratum`` is
        None in a table of all items, ``run`` the name of the run (:func:`run_name`).

    Raises:
        UserError: A directory holds no finished run.
    """
    return [row for run in runs for row in _run_rows(run, by_stratum)]


def run_name(run: Path) -> str:
    """The last two parts of a run's directory, ``quick/reference``: under ``results`` its suite and its name."""
    return "/".join(run.resolve().parts[-2:])


def _run_rows(run: Path, by_stratum: bool) -> list[dict[str, Any]]:
    manifest = read_manifest(run)
    scores = RunScores(run)
    sets = sets_of(scores)
    if any(of_set.unlabelled for of_set in sets.values()):
        raise UserError(f"{run} holds a scan, whose prompts have no labels to report on: see its scan.html")
    rows = []
    for (sample_set, version), of_set in sets.items():
        total = manifest.get("seconds", {}).get(sample_set, {})
        seconds = {label: float(total[label] / count) for label, count in of_set.rows.items() if label in total}
        for stratum in sorted(of_set.strata) if by_stratum and len(of_set.strata) > 1 else [None]:
            tables = ScoreTables(scores, sample_set, version, list(of_set.rows), stratum)
            rows += set_rows(manifest, sample_set, stratum, tables, seconds)
    return [row | {"run": run_name(run)} for row in rows]


def set_rows(
    manifest: dict[str, Any],
    sample_set: str,
    stratum: str | None,
    tables: Mapping[str, pd.DataFrame],
    seconds: dict[str, float],
) -> list[dict[str, Any]]:
    """Rows of one table, but for ``run``.

    Args:
        manifest: With the detectors, whose order is that of the rows, and messages.
        sample_set, stratum: What the rows say.
        tables: Rows of the score file by detector, of one version of the sample set; one at a time is asked for.
        seconds: An item and seed, by detector.
    """
    entries = {entry["label"]: entry for entry in manifest["settings"]["detectors"]}
    access = {label: entry["access"] for label, entry in entries.items()}
    rows: dict[str, dict[str, Any]] = {}
    means: MeanScores | None = None
    for label in access:
        if label not in tables:
            continue
        table = tables[label]
        rows[label] = dict.fromkeys(FIELDS) | _facts(table)
        rows[label] |= {"sample_set": sample_set, "stratum": stratum, "detector": label, "access": access[label]}
        rows[label]["seconds_per_item"] = seconds.get(label)
        rows[label]["message"] = "; ".join(manifest.get("messages", {}).get(sample_set, {}).get(label, []))
        if rows[label]["status"] == "ok":
            means = means or MeanScores.of(table)
            means.add(label, table)
        del table  # before the next one is made
    if means is None:
        return list(rows.values())
    give_back_memory(len(means.labels))  # the draws come next, and take as much
    evaluated = evaluate_table(list(means.scores.values()), means.labels, means.clusters)
    evaluations = dict(zip(means.scores, evaluated, strict=True))
    groups = groups_of(means)
    controls = [label for label in means.scores if access[label] in CONTROLS]
    best = max(controls, key=lambda label: evaluations[label].auroc.value, default=None)
    for label, scores in means.scores.items():
        row, evaluation = rows[label], evaluations[label]
        row["n_effective"] = evaluation.n_effective
        _put(row, "auroc", evaluation.auroc)
        _put(row, "tpr_at_1_fpr", evaluation.tpr_at_1_fpr)
        row["realised_fpr"] = _defined(evaluation.realised_fpr)
        row["tie_group"] = groups.get(label)
        split = split_of(
            label, list(means.scores), tables, seeded=entries[label].get("seeded", True), seeds=row["seeds"]
        )
        for part in ("items", "seeds", "probes"):
            row[f"variance_{part}"] = None if split is None else _defined(getattr(split, part))
        row["rank_correlation"] = _rank_correlation(means.items.assign(score=scores))
        if best is not None and access[label] not in CONTROLS:
            row["best_control"] = best
            _put(row, "gain_over_control", gain(scores, means.scores[best], means.labels, means.clusters))
    return list(rows.values())


def evaluate(means: pd.DataFrame) -> Evaluation:
    """Metrics of the per-item mean scores of one detector."""
    scores, labels = means["score"].to_numpy(np.float64), means["label"].to_numpy(np.int64)
    return evaluate_scores(scores, labels, means["cluster"].to_numpy(str))


def _facts(table: pd.DataFrame) -> dict[str, Any]:
    """What a row says without metrics."""
    items = table[["item_id", "label", "cluster"]].drop_duplicates("item_id")
    labels, families = items["label"].to_numpy(), pd.factorize(items["cluster"])[0]
    return {
        "sample_set_version": int(table["sample_set_version"].iloc[0]),
        "detector_version": int(table["detector_version"].max()),
        "n_positive": int((labels == 1).sum()),
        "n_negative": int((labels == 0).sum()),
        "n_clusters": int(items["cluster"].nunique()),
        "n_effective": min(effective_number(families[labels == side]) for side in (0, 1)),
        "forwards": float(table["forwards"].mean()),
        "jvps": float(table["jvps"].mean()),
        "vjps": float(table["vjps"].mean()),
        "seeds": int(table["seed"].nunique()),
        "metrics_version": METRICS_VERSION,
        "status": status_of(table),
    }


def _rank_correlation(means: pd.DataFrame) -> float | None:
    """Spearman's, over all items; None where the extraction is unknown or one side is constant."""
    known = means[["score", "extraction"]]
    if known["extraction"].isna().any() or (known.nunique() < 2).any():
        return None
    return float(known["score"].corr(known["extraction"], method="spearman"))


def status_of(table: pd.DataFrame) -> str:
    """The worst status among the rows."""
    present = set(table["status"].unique())
    return next((status for status in ("error", "nonfinite", "not-applicable") if status in present), "ok")


def _put(row: dict[str, Any], name: str, interval: Interval) -> None:
    for key, value in ((name, interval.value), (f"{name}_low", interval.low), (f"{name}_high", interval.high)):
        row[key] = _defined(value)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
