"""Score rows of a run, a detector at a time, so that a table never holds them all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from memdet.results.memory import give_back_memory
from memdet.results.schema import SCORES
from memdet.results.store import count_scores, read_scores, scan_scores

ROWS_HELD = 200_000
Floats = NDArray[np.float64]


@dataclass
class SetInRun:
    """What a run holds of one version of a sample set.

    Attributes:
        rows: Score rows by detector, in the order in which they come first.
        strata: Of the memorized items.
        unlabelled: Whether a row has no label.
    """

    rows: dict[str, int] = field(default_factory=dict)
    strata: set[str] = field(default_factory=set)
    unlabelled: bool = False


class RunScores:
    """The score table of a finished run, in pieces: held where it is small, else read again each time.

    Args:
        source: Run directory, or the table.
        renamed: Today's labels of detectors by those that the table holds.

    Raises:
        UserError: There is no finished run, or it is damaged.
    """

    def __init__(self, source: Path | pa.Table, renamed: Mapping[str, str] | None = None) -> None:
        self._renamed = dict(renamed or {})
        if isinstance(source, Path):
            self.n_rows = count_scores(source)
            self._directory: Path | None = source
            self._held = read_scores(source) if self.n_rows <= ROWS_HELD else None
        else:
            self.n_rows, self._directory, self._held = len(source), None, source.cast(SCORES)

    @property
    def held(self) -> bool:
        """Whether the whole table is in memory."""
        return self._held is not None

    def pieces(self, columns: Sequence[str], sample_set: str | None = None) -> Iterator[pa.Table]:
        """Some columns; with a sample set all of its rows, and few others."""
        if self._held is not None:
            yield self._with_labels_of_today(self._held.select(columns))
            return
        assert self._directory is not None
        yield from map(self._with_labels_of_today, scan_scores(self._directory, columns, sample_set))

    @cached_property
    def by_detector(self) -> dict[tuple[str, int, str], pd.DataFrame]:
        """Rows by sample set, version and detector, of a table that is held."""
        return _by_detector(pa.concat_tables(self.pieces(SCORES.names)))

    def _with_labels_of_today(self, piece: pa.Table) -> pa.Table:
        if not self._renamed or "detector" not in piece.column_names:
            return piece
        labels = [self._renamed.get(label, label) for label in piece["detector"].to_pylist()]
        return piece.set_column(piece.column_names.index("detector"), "detector", pa.array(labels, pa.string()))


def _by_detector(table: pa.Table) -> dict[tuple[str, int, str], pd.DataFrame]:
    frame = table.to_pandas()
    groups = frame.groupby(["sample_set", "sample_set_version", "detector"], sort=False).indices
    # Rows are moved once for all, since text is slow to move, and each table is a slice.
    ordered = frame.take(np.concatenate([*groups.values(), np.array([], np.intp)]))
    ends = np.cumsum([len(rows) for rows in groups.values()])
    slices = zip(groups.items(), ends, strict=True)
    return {key: ordered.iloc[end - len(rows) : end].reset_index(drop=True) for (key, rows), end in slices}


class ScoreTables(Mapping[str, pd.DataFrame]):
    """Score rows by detector. Of a large sample set each table is read when it is asked for, and not kept.

    Args:
        scores: Of the run.
        sample_set, version: Which rows.
        rows: How many there are of each detector.
        stratum: Of the memorized items that are kept; None keeps all. Items that are not memorized all stay.
    """

    def __init__(
        self, scores: RunScores, sample_set: str, version: int, rows: Mapping[str, int], stratum: str | None = None
    ) -> None:
        self._scores, self._labels = scores, list(rows)
        self._small = scores.held or sum(rows.values()) <= ROWS_HELD
        self._key, self._stratum = (sample_set, version), stratum
        self._kept = (pc.field("sample_set") == sample_set) & (pc.field("sample_set_version") == version)
        if stratum is not None:
            self._kept &= (pc.field("stratum") == stratum) | (pc.field("label") == 0)

    def __getitem__(self, label: str) -> pd.DataFrame:
        if label not in self._labels:
            raise KeyError(label)
        if self._small:
            rows = (self._scores.by_detector if self._scores.held else self._by_detector)[*self._key, label]
            if self._stratum is None:
                return rows.copy()
            return rows[(rows["stratum"] == self._stratum) | (rows["label"] == 0)].reset_index(drop=True)
        kept = self._kept & (pc.field("detector") == label)
        pieces = (piece.filter(kept) for piece in self._scores.pieces(SCORES.names, self._key[0]))
        give_back_memory()  # what the last table took, and then what was read for this one
        frame: pd.DataFrame = pa.concat_tables(pieces).to_pandas(split_blocks=True, self_destruct=True)
        give_back_memory()
        return frame

    @cached_property
    def _by_detector(self) -> dict[tuple[str, int, str], pd.DataFrame]:
        """Rows of this sample set, of a table that is not held."""
        (name, version), pieces = self._key, self._scores.pieces(SCORES.names, self._key[0])
        kept = (pc.field("sample_set") == name) & (pc.field("sample_set_version") == version)
        return _by_detector(pa.concat_tables(piece.filter(kept) for piece in pieces))

    def __contains__(self, label: object) -> bool:
        return label in self._labels  # the mapping's own would make the table

    def __iter__(self) -> Iterator[str]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)


def sets_of(scores: RunScores) -> dict[tuple[str, int], SetInRun]:
    """Sample sets of a run with their versions, in the order of its rows."""
    found: dict[tuple[str, int], SetInRun] = {}
    names = ["sample_set", "sample_set_version", "detector", "label", "stratum"]
    for piece in scores.pieces(names):
        counted = piece.group_by(names, use_threads=False).aggregate([([], "count_all")])  # in the order of the rows
        for name, version, detector, label, stratum, count in zip(*counted.to_pydict().values(), strict=True):
            of_set = found.setdefault((name, version), SetInRun())
            of_set.unlabelled |= label is None
            if label == 1:
                of_set.strata.add(stratum)
            of_set.rows[detector] = of_set.rows.get(detector, 0) + count
    return found


@dataclass(frozen=True)
class MeanScores:
    """Scores averaged over seeds, of detectors on the same items.

    Attributes:
        items: ``label, cluster, extraction`` by item id, in the order of the score table.
        labels: ``[n]``.
        clusters: Numbers of the clusters in the order of their names, ``[n]``.
        scores: ``[n]`` each, by detector.
        by_seed: Scores of each noise seed, items by seeds, of detectors that have several.
        unmoved: Detectors of which no seed moves all items together.
    """

    items: pd.DataFrame
    labels: NDArray[np.int64]
    clusters: NDArray[np.int64]
    scores: dict[str, Floats]
    by_seed: dict[str, pd.DataFrame] = field(default_factory=dict)
    unmoved: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, table: pd.DataFrame) -> MeanScores:
        """Without scores so far, for detectors on the items of a table."""
        by_item = table.groupby("item_id", sort=False)
        items = pd.DataFrame({name: by_item[name].first() for name in ("label", "cluster", "extraction")})
        _, clusters = np.unique(items["cluster"].to_numpy(str), return_inverse=True)
        return cls(items, items["label"].to_numpy(np.int64), clusters, {})

    def add(self, label: str, table: pd.DataFrame, *, moved: bool = True) -> None:
        """Average the rows of a detector.

        Args:
            label: Its.
            table: Its rows.
            moved: Whether a noise seed can move all items together, as it cannot those of a control.
        """
        self.scores[label] = mean_scores(table).loc[self.items.index].to_numpy(np.float64)
        if (of_seeds := scores_by_seed(table, self.items.index)) is not None:
            self.by_seed[label] = of_seeds
        if not moved:
            self.unmoved.add(label)

    def draws(self, labels: Iterable[str]) -> list[Floats | None]:
        """What intervals and tests of :mod:`memdet.metrics` ask of noise draws: one a label, None without several."""
        return on_common_seeds([None if label in self.unmoved else self.by_seed.get(label) for label in labels])


def scores_by_seed(table: pd.DataFrame, items: pd.Index) -> pd.DataFrame | None:
    """Scores of a detector, items by seeds in their order, NaN where there is none; None of a single seed."""
    seeds = pd.Index(table["seed"].unique()).sort_values()
    if len(seeds) < 2:
        return None
    row, column = items.get_indexer(pd.Index(table["item_id"])), seeds.get_indexer(pd.Index(table["seed"]))
    scores = np.full((len(items), len(seeds)), np.nan)
    scores[row[row >= 0], column[row >= 0]] = table["score"].to_numpy(np.float64)[row >= 0]
    return pd.DataFrame(scores, index=items, columns=seeds)


def on_common_seeds(tables: Sequence[pd.DataFrame | None]) -> list[Floats | None]:
    """Scores ``[n, seeds]`` in columns that all tables share; a seed that one has not is NaN there."""
    seeds = sorted({seed for table in tables if table is not None for seed in table.columns})
    return [None if table is None else table.reindex(columns=seeds).to_numpy(np.float64) for table in tables]


def mean_scores(table: pd.DataFrame) -> pd.Series:
    """Scores of a detector averaged over seeds, by item id; finite scores have a finite mean."""
    of_item = table.groupby("item_id", sort=False)["score"]
    means: pd.Series = of_item.mean()
    if not np.isfinite(means.to_numpy()).all() and np.isfinite(table["score"].to_numpy()).all():
        shares = table["score"] / of_item.transform("size")  # the sum of the scores is beyond the largest number
        means = shares.groupby(table["item_id"], sort=False).sum()
    return means
