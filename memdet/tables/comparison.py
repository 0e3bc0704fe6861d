"""Paired tests between the detectors of a run, or between two runs, from their score files alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from memdet.errors import UserError
from memdet.metrics import METRICS_VERSION, auroc, effective_number, holm, paired_tests
from memdet.results.run import Run
from memdet.results.scores import mean_scores, on_common_seeds, scores_by_seed
from memdet.tables.numbers import defined
from memdet.tables.rows import Row

FIELDS = (
    "sample_set",
    "sample_set_version",
    "stratum",
    "first",
    "second",
    "first_run",
    "second_run",
    "n_positive",
    "n_negative",
    "n_clusters",
    "n_effective",
    "seeds",
    "first_auroc",
    "second_auroc",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "p_adjusted",
    "metrics_version",
    "status",
    "message",
)
NOT_COMPARED = "not-compared"
IN_ONE_RUN = (
    "two runs are compared detector by detector, each with itself. To test one detector against the others, score them "
    "in one run (memdet run SET --detector A --detector B --out RUN_DIR) and compare the detectors of that run (memdet "
    "compare RUN_DIR --against A); against the leaderboard: memdet compare RUN_DIR --with field"
)
"""What to do where a detector is in one of two runs alone."""
_LACKING = "not in "
Key = tuple[str, int, str | None]  # sample set, its version, stratum


@dataclass(frozen=True)
class _Side:
    """A run, cut into what is compared at once."""

    name: str
    tables: dict[Key, dict[str, pd.DataFrame]]  # score rows by label, in the order of the run
    free: frozenset[str]  # labels whose scores do not depend on how many noise seeds they are averaged over

    @classmethod
    def of(cls, run: Run, by_stratum: bool) -> _Side:
        tables = {}
        for key, kept in _parts(run.score_rows(), by_stratum):
            by_label = {str(label): table for label, table in kept.groupby("detector", sort=False)}
            tables[key] = {entry.label: by_label[entry.label] for entry in run.detectors if entry.label in by_label}
        free = frozenset(entry.label for entry in run.detectors if not entry.bound_to_seeds)
        return cls(str(run.path or run.name), tables, free)

    @property
    def labels(self) -> list[str]:
        """All detectors, each once."""
        return list(dict.fromkeys(label for tables in self.tables.values() for label in tables))

    def versions(self) -> dict[str, int]:
        """Of the sample sets."""
        return {sample_set: version for sample_set, version, _ in self.tables}


def compare_detectors(
    run: Run | Path, *, first: str | None = None, against: str | None = None, by_stratum: bool = False
) -> list[Row]:
    """Test the detectors of one run against each other on the items of each sample set.

    Scores are averaged over each detector's seeds. Two detectors with different numbers of noise seeds are not
    compared, as more seeds alone would tell them apart; controls and detectors without noise are compared with all.
    Pairs are in the order of AUROC, the higher one first. The p-values of a sample set (and stratum) are adjusted
    together, after Holm.

    Args:
        run: A run, or its directory.
        first: Label of a detector that alone is compared with ``against``.
        against: Label of a detector; each other one is compared with it alone. None takes every pair.
        by_stratum: Each stratum of memorized items by itself, against all items that are not.

    Returns:
        Dictionaries with the keys of ``FIELDS``. ``difference`` is the AUROC of the first minus that of the second.
        A detector without scores is a row with the status ``not-compared`` and a message, and so is a pair with
        different numbers of seeds.

    Raises:
        UserError: The run has no such detector, or ``first`` is ``against``.
    """
    side = _Side.of(Run.of(run), by_stratum)
    for label in (first, against):
        if label is not None and label not in side.labels:
            raise UserError(f"{side.name} has no detector {label}: it has {', '.join(side.labels)}")
    if first is not None and first == against:
        raise UserError(f"{first} cannot be compared with itself: name two detectors")
    rows: list[Row] = []
    for key, all_tables in side.tables.items():
        tables = {label: table for label, table in all_tables.items() if first is None or label in {first, against}}
        usable = {label: table for label, table in tables.items() if _problem(table) is None}
        rows += [
            _row(key, first=label, second=against, runs=(side, side)) | {"message": problem}
            for label, table in tables.items()
            if (problem := _problem(table)) is not None
        ]
        if against is None or against in usable:
            rows += _pairs_of(key, usable, side, against)
        else:
            rows += [
                _row(key, first=label, second=against, runs=(side, side)) | {"message": f"{against} has no scores here"}
                for label in usable
            ]
    return rows


def compare_runs(first: Run | Path, second: Run | Path, *, by_stratum: bool = False) -> list[Row]:
    """Test each detector of one run against itself in another one.

    Each on the items that both runs have, with scores averaged over the seeds that both have. The p-values of a sample
    set (and stratum) are adjusted together, after Holm.

    Args:
        first, second: Runs, or their directories.
        by_stratum: As for :func:`compare_detectors`.

    Returns:
        As for :func:`compare_detectors`. What one run lacks, and sample sets whose versions differ, are rows with the
        status ``not-compared``; seeds and items on one side only are told in the message.

    Raises:
        UserError: Nothing can be compared.
    """
    sides = _Side.of(Run.of(first), by_stratum), _Side.of(Run.of(second), by_stratum)
    names = sides[0].name, sides[1].name
    versions = sides[0].versions(), sides[1].versions()
    rows: list[Row] = []
    for key in dict.fromkeys([*sides[0].tables, *sides[1].tables]):
        of_key = tuple(side.tables.get(key, {}) for side in sides)
        found = []
        for label in dict.fromkeys([*of_key[0], *of_key[1]]):
            row = _row(key, first=label, second=label, runs=sides)
            held = [versions[index].get(key[0]) for index in (0, 1)]
            if None not in held and held[0] != held[1]:
                row["message"] = (
                    f"{key[0]} has version {held[0]} in {names[0]} and version {held[1]} in {names[1]}, whose items "
                    "differ"
                )
            elif missing := [name for name, tables in zip(names, of_key, strict=True) if label not in tables]:
                row["message"] = f"{_LACKING}{missing[0]}"
            else:
                row |= compare_tables(of_key[0][label], of_key[1][label], names, free=(label in sides[0].free,) * 2)
            found.append(row)
        adjust(found)
        rows += found
    if all(row["status"] == NOT_COMPARED for row in rows):
        why = rows[0]["message"] if rows else "they hold no scores"
        advice = f"; {IN_ONE_RUN}" if rows and lacking(rows[0]) else ""
        raise UserError(f"nothing in {names[0]} and {names[1]} can be compared: {why}{advice}")
    return rows


def lacking(row: Row) -> bool:
    """Whether one of the two runs does not have the detector of a row."""
    return row["status"] == NOT_COMPARED and str(row["message"]).startswith(_LACKING)


def _parts(scores: pd.DataFrame, by_stratum: bool) -> Iterator[tuple[Key, pd.DataFrame]]:
    for (name, version), of_set in scores.groupby(["sample_set", "sample_set_version"], sort=False):
        key = (str(name), int(str(version)), None)
        strata = sorted(of_set.loc[of_set["label"] == 1, "stratum"].unique())
        if not by_stratum or len(strata) < 2:
            yield key, of_set
            continue
        for stratum in strata:
            kept = of_set[(of_set["stratum"] == stratum) | (of_set["label"] == 0)]
            yield (*key[:2], str(stratum)), kept


def _row(key: Key, *, first: str, second: str | None, runs: tuple[_Side, _Side]) -> Row:
    return empty_row(key, (first, second), (runs[0].name, runs[1].name))


def empty_row(key: Key, labels: tuple[str, str | None], runs: tuple[str, str]) -> Row:
    """A row of which nothing is known yet.

    Args:
        key: Sample set, version and stratum.
        labels: Of the two detectors.
        runs: In which they are.
    """
    return dict.fromkeys(FIELDS) | {
        "sample_set": key[0],
        "sample_set_version": key[1],
        "stratum": key[2],
        "first": labels[0],
        "second": labels[1],
        "first_run": runs[0],
        "second_run": runs[1],
        "metrics_version": METRICS_VERSION,
        "status": NOT_COMPARED,
        "message": "",
    }


def _problem(table: pd.DataFrame) -> str | None:
    """Why a detector has no scores to compare."""
    others = sorted(set(table["status"]) - {"ok"})
    return f"has status {', '.join(others)}" if others else None


def _pairs_of(key: Key, tables: Mapping[str, pd.DataFrame], side: _Side, against: str | None) -> list[Row]:
    """Rows of the pairs on one sample set, adjusted."""
    means = {label: _means(table) for label, table in tables.items()}
    if len(means) < 2:
        return []
    items = next(iter(means.values()))
    labels, clusters = items["label"].to_numpy(np.int64), items["cluster"].to_numpy(str)
    if not 0 < labels.sum() < len(labels):
        return []
    aurocs = {label: auroc(table.loc[items.index, "score"], labels) for label, table in means.items()}
    order = sorted(means, key=lambda label: -aurocs[label])
    tests = paired_tests(
        np.stack([means[label].loc[items.index, "score"].to_numpy(np.float64) for label in order]),
        labels,
        clusters,
        by_seed=on_common_seeds(
            [None if label in side.free else scores_by_seed(tables[label], items.index) for label in order]
        ),
        against=None if against is None else order.index(against),
    )
    rows = []
    for index, (a, b) in enumerate(zip(tests.first, tests.second, strict=True)):
        first, second = order[a], order[b]
        row = _row(key, first=first, second=second, runs=(side, side)) | _counts(labels, clusters)
        row |= {"first_auroc": aurocs[first], "second_auroc": aurocs[second]}
        seeds = [int(tables[label]["seed"].nunique()) for label in (first, second)]
        if seeds[0] != seeds[1] and not {first, second} & side.free:
            told = f"averaged over {_counted(seeds[0], 'noise seed')}, the other over {seeds[1]}"
            rows.append(row | {"message": f"{told}: score both with the same --seeds"})
            continue
        rows.append(row | {"seeds": min(seeds)} | _numbers(tests, index))
    adjust(rows)
    return rows


def compare_tables(
    first: pd.DataFrame, second: pd.DataFrame, names: tuple[str, str], *, free: tuple[bool, bool]
) -> Row:
    """What a row says of two score tables of one sample set: on the items, and the noise seeds, that both have.

    Args:
        first, second: Score rows of a detector each.
        names: What the tables are called in messages.
        free: Whether the scores of each are the same under every noise seed. Where one of them alone are, seeds are
            not held against each other.
    """
    for table, name in zip((first, second), names, strict=True):
        if (problem := _problem(table)) is not None:
            return {"message": f"{problem} in {name}"}
    seeds = [set(table["seed"].tolist()) for table in (first, second)]
    both = seeds[free[0]] if free[0] != free[1] else seeds[0] & seeds[1]
    if not both:
        return {"message": "no noise seed is in both runs"}
    kept = [table if free[0] != free[1] else table[table["seed"].isin(both)] for table in (first, second)]
    sides = [_means(table) for table in kept]
    items = sides[0].index.intersection(sides[1].index, sort=False)
    if not len(items):
        return {"message": "no item is in both runs"}
    labels, others = (side.loc[items, "label"].to_numpy(np.int64) for side in sides)
    if (labels != others).any():
        changed = items[labels != others][0]
        return {"message": f"item {changed} has another label in {names[1]}"}
    if not 0 < labels.sum() < len(labels):
        return {"message": "the items in both runs are all memorized or all not"}
    clusters = sides[0].loc[items, "cluster"].to_numpy(str)
    scores = np.stack([side.loc[items, "score"].to_numpy(np.float64) for side in sides])
    aurocs = [auroc(row, labels) for row in scores]
    told = []
    for side in (0, 1):
        if free[0] == free[1] and (alone := sorted(seeds[side] - both)):
            told.append(f"{_counted(len(alone), 'noise seed')} only in {names[side]} ({', '.join(map(str, alone))})")
        if alone_items := len(sides[side].index.difference(items)):
            told.append(f"{_counted(alone_items, 'item')} only in {names[side]}")
    head = _counts(labels, clusters) | {"seeds": len(both), "first_auroc": aurocs[0], "second_auroc": aurocs[1]}
    by_seed = on_common_seeds(
        [None if fixed else scores_by_seed(table, items) for table, fixed in zip(kept, free, strict=True)]
    )
    tests = paired_tests(scores, labels, clusters, by_seed=by_seed)
    return head | _numbers(tests, 0) | {"message": "; ".join(told)}


def _means(table: pd.DataFrame) -> pd.DataFrame:
    """Mean score over seeds, label and cluster by item."""
    by_item = table.groupby("item_id", sort=False)
    return pd.DataFrame(
        {"score": mean_scores(table), "label": by_item["label"].first(), "cluster": by_item["cluster"].first()}
    )


def _counts(labels: Any, clusters: Any) -> Row:
    return {
        "n_positive": int(labels.sum()),
        "n_negative": int((1 - labels).sum()),
        "n_clusters": len(set(clusters.tolist())),
        "n_effective": min(effective_number(clusters[labels == side]) for side in (0, 1)),
    }


def _numbers(tests: Any, index: int) -> Row:
    values = {
        "difference": tests.difference[index],
        "difference_low": tests.low[index],
        "difference_high": tests.high[index],
        "p": tests.p[index],
    }
    return {name: defined(value) for name, value in values.items()} | {"status": "ok"}


def adjust(rows: Sequence[Row]) -> None:
    """Write the p-values after Holm into the rows of a table that have one."""
    tested = [row for row in rows if row["p"] is not None]
    for row, value in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_adjusted"] = float(value)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number > 1 else "")
