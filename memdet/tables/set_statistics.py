"""What detectors on one sample set say together: who is ranked, who is tied, and where a row's variance comes from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.metrics import VarianceSplit, area_ties, variance_split
from memdet.results.labels import split_option
from memdet.results.manifest import DetectorEntry
from memdet.results.scores import MeanScores


def bound_to_seeds(entry: DetectorEntry) -> bool:
    """Whether scores depend on how many noise seeds they average: those of controls and without noise do not."""
    return entry.seeded and not entry.is_control


def common_seeds(counts: Iterable[int]) -> int | None:
    """The number of noise seeds that rows must share to be ranked with each other.

    More noise seeds give a detector less noise, and so a better rank than it has. Ranked together are rows with the
    number of seeds that is most frequent, the larger one of equally frequent ones.

    Args:
        counts: One a row, of those whose scores depend on them.

    Returns:
        None where there are no rows.

    Example:
        >>> common_seeds([8, 8, 2]), common_seeds([2, 8]), common_seeds([])
        (8, 8, None)
    """
    found = Counter(counts)
    return max(found, key=lambda count: (found[count], count), default=None)


def groups_of(means: MeanScores, ranked: Collection[str]) -> dict[str, int]:
    """Tie groups of detectors by AUROC (:func:`~memdet.metrics.area_ties`), controls among them.

    Args:
        means: Scores of all detectors.
        ranked: Labels of those that are ranked together; the others are in no group, and in no test.

    Returns:
        Numbers from 1, by label; empty where one label is missing among the items.
    """
    kept = {label: scores for label, scores in means.scores.items() if label in ranked}
    if not kept or not 0 < means.labels.sum() < len(means.labels):
        return {}
    ties = area_ties(np.stack(list(kept.values())), means.labels, means.clusters)
    return dict(zip(kept, ties.groups.tolist(), strict=True))


def split_of(
    label: str, labels: Sequence[str], tables: Mapping[str, pd.DataFrame], *, seeded: bool, seeds: int
) -> VarianceSplit | None:
    """The variance split of a detector's row.

    The probes' part is known where the run holds the detector with other values of the option ``draw`` too, which draw
    other random vectors at the same noise.

    Args:
        label: Of the detector.
        labels: Of all detectors whose status is ok.
        tables: Rows of the score file by label.
        seeded: Whether scores depend on the seed. If not, all variance is that of the items.
        seeds: Noise seeds of the detector's rows.

    Returns:
        None where nothing can be told from this run, as with one noise seed.
    """
    if not seeded:
        return VarianceSplit(items=1.0, seeds=0.0, probes=0.0, total=math.nan)
    if seeds < 2:
        return None
    table = tables[label]
    place, items = pd.factorize(table["item_id"], sort=True)
    numbers = pd.Index(table["seed"].unique()).sort_values()
    base, _ = split_option(label, "draw")
    others = [
        _by_seed(tables[other], items, numbers)
        for other in labels
        if other != label and split_option(other, "draw")[0] == base
    ]
    of_item = table.iloc[np.unique(place, return_index=True)[1]]
    return variance_split(
        _by_seed(table, items, numbers),
        of_item["label"].to_numpy(np.int64),
        of_item["cluster"].to_numpy(str),
        probe_draws=np.stack(others, axis=2) if others else None,
    )


def _by_seed(table: pd.DataFrame, items: pd.Index, seeds: pd.Index) -> NDArray[np.float64]:
    """Scores ``[items, seeds]``, NaN where there is none."""
    row, column = items.get_indexer(pd.Index(table["item_id"])), seeds.get_indexer(pd.Index(table["seed"]))
    known = (row >= 0) & (column >= 0)
    scores = np.full((len(items), len(seeds)), np.nan)
    scores[row[known], column[known]] = table["score"].to_numpy(np.float64)[known]
    return scores
