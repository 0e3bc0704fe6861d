"""One detector on one sample set, in a run and in its baseline: what changed, and whether that is more than chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.gate.runs import DetectorRun, GateRun
from memdet.metrics import Interval, auroc, average_ranks, gain, paired_permutation, student_sf
from memdet.results.scores import on_common_seeds

_SIXTEEN_BITS, _COUNTS = 11, 16  # significant bits: of a float16, and of scores that may be counts

Kind = Literal["missing", "status", "drop", "drift", "precision"]


@dataclass(frozen=True)
class Move:
    """An item whose score or rank has changed.

    Attributes:
        item: Its id.
        label: 1 memorized, 0 not.
        seed: Of the two scores; None where they are means over seeds.
        before, after: Scores in the baseline and the run.
        rank_before, rank_after: Of the mean scores among the items compared, 1 the largest; ties share the mean rank.
    """

    item: str
    label: int
    seed: int | None
    before: float
    after: float
    rank_before: float
    rank_after: float


@dataclass(frozen=True)
class Failure:
    """One reason why the gate fails.

    Attributes:
        kind: ``missing``, ``status``, ``drop``, ``drift`` or ``precision``.
        sample_set, detector: Where; None means all detectors.
        message: One line.
        moved: Items, those that moved most first.
    """

    kind: Kind
    sample_set: str
    detector: str | None
    message: str
    moved: tuple[Move, ...] = ()


@dataclass(frozen=True)
class Pair:
    """A detector's scores in both runs, ``[items, seeds]`` each, of the same items in the same order.

    Attributes:
        sample_set, detector: Which.
        control: Whether it never calls the model.
        labels, clusters: ``[items]``, of the baseline.
        before, after: Of the same seeds if ``shared``, else of as many.
        shared: Whether the two runs have seeds in common.
        allowed: Relative difference of scores that is accepted.
        undrifted: Why no drift can be checked; empty if it can.
    """

    sample_set: str
    detector: str
    control: bool
    labels: NDArray[np.int64]
    clusters: NDArray[np.str_]
    before: pd.DataFrame
    after: pd.DataFrame
    shared: bool
    allowed: float
    undrifted: str

    @cached_property
    def means(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean over seeds, before and after."""
        return self.before.to_numpy(np.float64).mean(axis=1), self.after.to_numpy(np.float64).mean(axis=1)

    @cached_property
    def change(self) -> Interval:
        """AUROC after less AUROC before, with a paired interval; NaN where a class is missing.

        Of the items at these very draws where the runs share seeds, for the question is what became of them; of items
        and draws where they share none.
        """
        own = [None if self.shared or table.shape[1] < 2 else table for table in (self.after, self.before)]
        by_seed = on_common_seeds(own)
        return gain(self.means[1], self.means[0], self.labels, self.clusters, by_seed=(by_seed[0], by_seed[1]))

    @cached_property
    def relative(self) -> NDArray[np.float64]:
        """Differences ``[items, seeds]`` relative to the detector's largest score in the baseline."""
        difference = np.abs(self.after.to_numpy() - self.before.to_numpy())
        largest = np.abs(self.before.to_numpy()).max()
        return difference / largest if largest > 0 else np.where(difference > 0, np.inf, 0.0)

    def drop_beyond(self, tolerance: float) -> bool:
        """Whether the AUROC has dropped by more than the tolerance."""
        return self.change.value < -tolerance - 1e-12

    def untestable(self, alpha: float, tests: int) -> str:
        """Why no drop can be significant at this level among so many tests; empty if one can."""
        if np.isnan(self.change.value):
            return "one class has no items"
        if not self.shared and self.before.shape[1] < 2:
            return "with one seed each, a change cannot be told from another draw of the noise"
        clusters = len(np.unique(self.clusters))
        if 2.0 ** (1 - clusters) * tests > alpha:  # an arrangement and its mirror image, of 2^clusters
            return f"{clusters} independent items cannot show a drop at level {alpha:g} among {tests} tests"
        return ""

    def p_value(self, draws: int) -> float:
        """Two-sided p-value of the change."""
        before, after = self.means
        p = paired_permutation(after, before, self.labels, clusters=self.clusters, draws=draws)
        return p if self.shared else max(p, self._p_of_seeds())

    def _p_of_seeds(self) -> float:
        """Student's test of equal mean AUROCs of single seeds."""
        before, after = (
            np.array([auroc(table[seed], self.labels) for seed in table]) for table in (self.before, self.after)
        )
        difference, k = abs(before.mean() - after.mean()), len(before)
        error = np.sqrt((before.var(ddof=1) + after.var(ddof=1)) / k)
        if error == 0:
            return float(difference == 0)
        return float(2 * student_sf(difference / error, 2 * k - 2))

    def dropped(self) -> list[Move]:
        """Items whose rank went the wrong way, those that went furthest first."""
        before, after = self._ranks
        wrong = (after - before) * np.where(self.labels == 1, 1, -1)
        order = np.argsort(-wrong, kind="stable")
        return [self._move(int(i), None) for i in order if wrong[i] > 0]

    def drifted(self) -> list[Move]:
        """Scores that differ by more than is allowed, the largest difference first."""
        found = np.argwhere(self.relative > self.allowed)
        order = np.argsort(-self.relative[found[:, 0], found[:, 1]], kind="stable")
        return [self._move(int(i), int(j)) for i, j in found[order]]

    @cached_property
    def _ranks(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return average_ranks(-self.means[0]), average_ranks(-self.means[1])

    def _move(self, i: int, j: int | None) -> Move:
        before, after = self.means if j is None else (self.before.to_numpy()[:, j], self.after.to_numpy()[:, j])
        return Move(
            item=str(self.before.index[i]),
            label=int(self.labels[i]),
            seed=None if j is None else int(self.before.columns[j]),
            before=float(before[i]),
            after=float(after[i]),
            rank_before=float(self._ranks[0][i]),
            rank_after=float(self._ranks[1][i]),
        )

    def rounded(self) -> str:
        """How the scores were rounded to 16 bits, which a wide tolerance does not see; empty if they were not."""
        before, after = significant_bits(self.before), significant_bits(self.after)
        if after > _SIXTEEN_BITS or before <= _COUNTS:
            return ""
        return f"scores have {after} significant bits, in the baseline {before}: they were rounded to 16-bit numbers"


def pairs_of(old: GateRun, new: GateRun, drift: float | None) -> Iterator[Pair]:
    """Detectors that are ok in both runs, on the items that are in both."""
    for name, before in old.sets.items():
        if name not in new.sets:
            continue
        after = new.sets[name]
        items = before.items.loc[before.items.index.isin(after.items.index)]
        for label, was in before.detectors.items():
            now = after.detectors.get(label)
            if len(items) and now is not None and was.status == now.status == "ok":
                yield _pair(name, label, items, was, now, was.tolerance if drift is None else drift)


def _pair(name: str, label: str, items: pd.DataFrame, was: DetectorRun, now: DetectorRun, allowed: float) -> Pair:
    before, after = was.scores.loc[items.index], now.scores.loc[items.index]
    if not was.seeded:  # scored once, under whatever seed came first
        before, after = before.iloc[:, :1], after.iloc[:, :1].set_axis(before.columns[:1], axis=1)
    undrifted, shared = "", before.columns.intersection(after.columns)
    if len(shared):
        before, after = before[shared], after[shared]
    else:
        undrifted = f"no seed is in both runs ({_seeds(before)} in the baseline, {_seeds(after)} in the run)"
        count = min(before.shape[1], after.shape[1])
        before, after = before.iloc[:, :count], after.iloc[:, :count]
    if was.version != now.version:
        undrifted = f"its version went from {was.version} to {now.version}, which declares that scores change"
    return Pair(
        sample_set=name,
        detector=label,
        control=was.control,
        labels=items["label"].to_numpy(np.int64),
        clusters=items["cluster"].to_numpy(np.str_),
        before=before,
        after=after,
        shared=len(shared) > 0,
        allowed=allowed,
        undrifted=undrifted,
    )


def significant_bits(scores: Any) -> int:
    """How many bits the most exact score needs: up to 53, 24 of float32, 11 of float16, 8 of bfloat16; 0 of zeros.

    Example:
        >>> significant_bits([1.0, 0.75, 0.0]), significant_bits(np.float32(0.1))
        (2, 24)
    """
    fraction, _ = np.frexp(np.abs(np.asarray(scores, dtype=np.float64)))
    whole = np.atleast_1d(fraction * 2.0**53).astype(np.int64).ravel()
    return max((54 - int(number & -number).bit_length() for number in whole.tolist() if number), default=0)


def _seeds(table: pd.DataFrame) -> str:
    return ("seed " if table.shape[1] == 1 else "seeds ") + ", ".join(map(str, table.columns))
