"""The rows of a table: one a sample set and detector, from a run's score file alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from memdet.errors import UserError
from memdet.metrics import METRICS_VERSION, Evaluation, Interval, effective_number, evaluate_table, gain
from memdet.reports.set_statistics import groups_of, split_of
from memdet.running.store import read_manifest, read_scores

CONTROLS = {"none", "text"}
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
    scores = read_scores(run).to_pandas()
    if scores["label"].isna().any():
        raise UserError(f"{run} holds a scan, whose prompts have no labels to report on: see its scan.html")
    rows = []
    for (name, _), of_set in scores.groupby(["sample_set", "sample_set_version"], sort=False):
        sample_set = str(name)
        counts = of_set.groupby("detector").size()
        total = manifest.get("seconds", {}).get(sample_set, {})
        seconds = {label: float(total[label] / counts[label]) for label in counts.index if label in total}
        strata = of_set.loc[of_set["label"] == 1, "stratum"].unique()
        if not by_stratum or len(strata) < 2:
            rows += set_rows(manifest, sample_set, None, of_set, seconds)
            continue
        for stratum in sorted(strata):
            kept = of_set[(of_set["stratum"] == stratum) | (of_set["label"] == 0)]
            rows += set_rows(manifest, sample_set, stratum, kept, seconds)
    return [row | {"run": run_name(run)} for row in rows]


def set_rows(
    manifest: dict[str, Any], sample_set: str, stratum: str | None, of_set: pd.DataFrame, seconds: dict[str, float]
) -> list[dict[str, Any]]:
    """Rows of one table, but for ``run``.

    Args:
        manifest: With the detectors, whose order is that of the rows, and messages.
        sample_set, stratum: What the rows say.
        of_set: Rows of the score file, of one version of the sample set.
        seconds: An item and seed, by detector.
    """
    access = {entry["label"]: entry["access"] for entry in manifest["settings"]["detectors"]}
    seeded = {entry["label"]: entry.get("seeded", True) for entry in manifest["settings"]["detectors"]}
    found = {str(label): table for label, table in of_set.groupby("detector", sort=False)}
    tables = {label: found[label] for label in access if label in found}
    means = {label: _mean_scores(table) for label, table in tables.items() if status_of(table) == "ok"}
    controls = [label for label in means if access[label] in CONTROLS]
    evaluations = evaluate_all(means)
    groups = groups_of(means)
    of_ok = {label: tables[label] for label in means}
    best = max(controls, key=lambda label: evaluations[label].auroc.value, default=None)
    rows = []
    for label, table in tables.items():
        row: dict[str, Any] = dict.fromkeys(FIELDS)
        status = status_of(table)
        messages = manifest.get("messages", {}).get(sample_set, {}).get(label, [])
        items = table.drop_duplicates("item_id")
        row |= {
            "sample_set": sample_set,
            "sample_set_version": int(table["sample_set_version"].iloc[0]),
            "stratum": stratum,
            "detector": label,
            "detector_version": int(table["detector_version"].max()),
            "access": access[label],
            "n_positive": int((items["label"] == 1).sum()),
            "n_negative": int((items["label"] == 0).sum()),
            "n_clusters": int(items["cluster"].nunique()),
            "n_effective": min(effective_number(items.loc[items["label"] == side, "cluster"]) for side in (0, 1)),
            "forwards": float(table["forwards"].mean()),
            "jvps": float(table["jvps"].mean()),
            "vjps": float(table["vjps"].mean()),
            "seconds_per_item": seconds.get(label),
            "seeds": int(table["seed"].nunique()),
            "metrics_version": METRICS_VERSION,
            "status": status,
            "message": "; ".join(messages),
        }
        if status == "ok":
            row["n_effective"] = evaluations[label].n_effective
            _put(row, "auroc", evaluations[label].auroc)
            _put(row, "tpr_at_1_fpr", evaluations[label].tpr_at_1_fpr)
            row["realised_fpr"] = _defined(evaluations[label].realised_fpr)
            row["tie_group"] = groups.get(label)
            split = split_of(label, of_ok, seeded=seeded[label])
            for part in ("items", "seeds", "probes"):
                row[f"variance_{part}"] = None if split is None else _defined(getattr(split, part))
            row["rank_correlation"] = _rank_correlation(means[label])
            if best is not None and access[label] not in CONTROLS:
                row["best_control"] = best
                _put(row, "gain_over_control", _gain(means[label], means[best]))
        rows.append(row)
    return rows


def evaluate(means: pd.DataFrame) -> Evaluation:
    """Metrics of the per-item mean scores of one detector."""
    return evaluate_all({"": means})[""]


def evaluate_all(means: Mapping[str, pd.DataFrame]) -> dict[str, Evaluation]:
    """Metrics of the per-item mean scores of detectors on the same items, by label."""
    if not means:
        return {}
    items = next(iter(means.values()))
    found = evaluate_table(
        [table.loc[items.index, "score"].to_numpy(np.float64) for table in means.values()],
        items["label"].to_numpy(np.int64),
        items["cluster"].to_numpy(str),
    )
    return dict(zip(means, found, strict=True))


def _gain(means: pd.DataFrame, control: pd.DataFrame) -> Interval:
    paired = control.loc[means.index, "score"].to_numpy(np.float64)
    return gain(
        means["score"].to_numpy(np.float64), paired, means["label"].to_numpy(np.int64), means["cluster"].to_numpy(str)
    )


def _mean_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over seeds, a row an item, in the order of the score table."""
    by_item = table.groupby("item_id", sort=False)
    return pd.DataFrame(
        {"score": by_item["score"].mean()}
        | {name: by_item[name].first() for name in ("label", "cluster", "extraction")}
    )


def _rank_correlation(means: pd.DataFrame) -> float | None:
    """Spearman's, over all items; None where the extraction is unknown or one side is constant."""
    known = means[["score", "extraction"]]
    if known["extraction"].isna().any() or (known.nunique() < 2).any():
        return None
    return float(known["score"].corr(known["extraction"], method="spearman"))


def status_of(table: pd.DataFrame) -> str:
    """The worst status among the rows."""
    present = set(table["status"])
    return next((status for status in ("error", "nonfinite", "not-applicable") if status in present), "ok")


def _put(row: dict[str, Any], name: str, interval: Interval) -> None:
    for key, value in ((name, interval.value), (f"{name}_low", interval.low), (f"{name}_high", interval.high)):
        row[key] = _defined(value)


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
