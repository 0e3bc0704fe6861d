"""The rows of a table: one a sample set and detector, from a run's score file alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from memdet.errors import UserError
from memdet.metrics import METRICS_VERSION, Interval, average_ranks, effective_number, evaluate_table, gain
from memdet.results.manifest import DetectorEntry, Manifest
from memdet.results.memory import give_back_memory
from memdet.results.run import ALL_EQUAL, CONSTANT, Run, SetKey, status_of
from memdet.results.scores import Floats, MeanScores
from memdet.tables.numbers import defined
from memdet.tables.set_statistics import common_seeds, draws_of, groups_of, split_of

__all__ = ["FIELDS", "Row", "Rows", "report_rows", "rows_of", "set_rows"]

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
    "draws",
    "ranked",
    "metrics_version",
    "run",
    "status",
    "message",
)


def report_rows(runs: Sequence[Run | Path], *, by_stratum: bool = False) -> list[Row]:
    """Compute the table of one or more finished runs; see :func:`rows_of`.

    Args:
        runs: Runs, or their directories.
        by_stratum: As for :func:`rows_of`.
    """
    return [row for run in runs for row in rows_of(Run.of(run), by_stratum=by_stratum)]


def rows_of(run: Run, *, by_stratum: bool = False) -> list[Row]:
    """Compute the table of a finished run.

    The mean over seeds is taken per item, then metrics over items. A detector with a row that is not ``ok`` has no
    numbers: its status and message say why. Undefined numbers are None. ``rank_correlation`` is Spearman's between
    scores and the measured extraction of the items.

    ``ranked`` says whether a row takes part in what ranks a table: its scores are averaged over as many noise seeds as
    those of the others (:func:`~memdet.tables.set_statistics.common_seeds`), or do not depend on them, as a control's.
    ``tie_group`` is that of :func:`~memdet.metrics.area_ties` among the ranked detectors, controls included.
    ``forwards``, ``jvps``, ``vjps`` and ``seconds_per_item`` are of one seed; tables show them times ``seeds``.

    Intervals, gains and groups hold items and noise draws. ``draws`` is how many draws: None where no draw moves the
    row, as a control's; 1 where one does and a single one was made, so that they hold items alone.

    ``variance_items``, ``variance_seeds`` and ``variance_probes`` are shares of the AUROC's variance
    (:func:`~memdet.metrics.variance_split`): None with one noise seed; the probes' is None, and part of the seeds',
    unless the run holds the detector with several values of its option ``draw``.

    Args:
        run: Loaded or in memory.
        by_stratum: A table for each stratum of memorized items, against all items that are not, where a sample set has
            more than one.

    Returns:
        Dictionaries with the keys of ``FIELDS``, in the order of the run's sample sets and detectors; ``stratum`` is
        None in a table of all items, ``run`` the name of the run.

    Raises:
        UserError: The run is a scan, whose items have no labels.
    """
    refuse_scan(run)
    rows = []
    for key, of_set in run.sets.items():
        for stratum in sorted(of_set.strata) if by_stratum and len(of_set.strata) > 1 else [None]:
            rows += [row | {"run": run.name} for row in set_rows(run, key, stratum)]
    return rows


def refuse_scan(run: Run) -> None:
    """Refuse a run whose items have no labels, of which no table tells.

    Raises:
        UserError: The run is a scan.
    """
    if run.is_scan:
        place = run.path or run.name
        raise UserError(f"{place} holds a scan, whose prompts have no labels to report on: see its scan.html")


def set_rows(run: Run, key: SetKey, stratum: str | None = None) -> list[Row]:
    """Rows of one table, but for ``run``.

    Args:
        run: Loaded or in memory; the order of its detectors is that of the rows.
        key: Sample set and version.
        stratum: Of the memorized items; None takes all.
    """
    manifest, tables = run.manifest, run.tables(key, stratum)
    rows: dict[str, Row] = {}
    means: MeanScores | None = None
    of_set = manifest.sample_set(key[0])
    noise = of_set.noise if of_set is not None and of_set.version == key[1] else None
    for entry in run.detectors:
        if entry.label not in tables:
            continue
        table = tables[entry.label]
        row = rows[entry.label] = dict.fromkeys(FIELDS) | _facts(table, entry)
        row |= {"sample_set": key[0], "stratum": stratum, "detector": entry.label, "access": entry.access}
        row["seconds_per_item"] = _seconds(manifest, key[0], entry.label, run.sets[key].rows[entry.label])
        said = manifest.messages_of(key[0], entry.label)
        row["message"] = "; ".join([*said, ALL_EQUAL] if row["status"] == CONSTANT else said)
        if row["status"] == "ok":
            means = means or MeanScores.of(table)
            means.add(entry.label, table, moved=entry.bound_to_seeds)
            row["draws"] = draws_of(entry, table, noise)
        del table  # before the next one is made
    if means is not None:
        give_back_memory(len(means.labels))  # the draws come next, and take as much
        _measure(rows, means, {entry.label: entry for entry in run.detectors})
    return list(rows.values())


def _measure(rows: Mapping[str, Row], means: MeanScores, entries: Mapping[str, DetectorEntry]) -> None:
    """Fill in the metrics of the rows whose status is ok."""
    draws = dict(zip(means.scores, means.draws(means.scores), strict=True))
    of_items = means.labels, means.clusters
    measured = evaluate_table(list(means.scores.values()), *of_items, by_seed=list(draws.values()))
    found = dict(zip(means.scores, measured, strict=True))
    ranked = _ranked(rows, [entries[label] for label in means.scores])
    groups = groups_of(means, ranked)
    controls = [label for label in means.scores if entries[label].is_control]
    best = max(controls, key=lambda label: found[label].auroc.value, default=None)
    for label, scores in means.scores.items():
        row = rows[label]
        row["n_effective"] = found[label].n_effective
        _put(row, "auroc", found[label].auroc)
        _put(row, "tpr_at_1_fpr", found[label].tpr_at_1_fpr)
        row["realised_fpr"] = defined(found[label].realised_fpr)
        row["tie_group"], row["ranked"] = groups.get(label), label in ranked
        split = split_of(label, means, seeded=entries[label].seeded)
        for part in ("items", "seeds", "probes"):
            row[f"variance_{part}"] = None if split is None else defined(getattr(split, part))
        row["rank_correlation"] = _rank_correlation(scores, means.items["extraction"].to_numpy(np.float64))
        if best is not None and not entries[label].is_control:
            row["best_control"] = best
            by_seed = draws[label], draws[best]
            _put(row, "gain_over_control", gain(scores, means.scores[best], *of_items, by_seed=by_seed))


def _ranked(rows: Mapping[str, Row], entries: Sequence[DetectorEntry]) -> set[str]:
    """Labels that are ranked with each other."""
    bound = {entry.label for entry in entries if entry.bound_to_seeds}
    common = common_seeds(rows[label]["seeds"] for label in bound)
    return {entry.label for entry in entries if entry.label not in bound or rows[entry.label]["seeds"] == common}


def _seconds(manifest: Manifest, sample_set: str, label: str, count: int) -> float | None:
    """An item and seed."""
    total = manifest.seconds.get(sample_set, {}).get(label)
    return None if total is None else float(total / count)


def _facts(table: pd.DataFrame, entry: DetectorEntry) -> dict[str, Any]:
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
        "ranked": False,
        "metrics_version": METRICS_VERSION,
        "status": status_of(table, is_control=entry.is_control),
    }


def _rank_correlation(scores: Floats, extraction: Floats) -> float | None:
    """Spearman's, over all items; None where the extraction is unknown or one side is constant."""
    if np.isnan(extraction).any() or np.ptp(scores) == 0 or np.ptp(extraction) == 0:
        return None
    ranks = np.column_stack([average_ranks(scores), average_ranks(extraction)])
    return float(np.asarray(np.corrcoef(ranks, rowvar=False))[1, 0])


def _put(row: dict[str, Any], name: str, interval: Interval) -> None:
    for key, value in ((name, interval.value), (f"{name}_low", interval.low), (f"{name}_high", interval.high)):
        row[key] = defined(value)
