"""What detectors on one sample set say together: who is tied with whom, and where a row's variance comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.metrics import VarianceSplit, area_ties, variance_split
from memdet.results.labels import split_option
from memdet.results.scores import MeanScores


def groups_of(means: MeanScores) -> dict[str, int]:
    """Tie groups of detectors by AUROC (:func:`~memdet.metrics.area_ties`), controls among them.

    Returns:
        Numbers from 1, by label; empty where one label is missing among the items.
    """
    if not 0 < means.labels.sum() < len(means.labels):
        return {}
    ties = area_ties(np.stack(list(means.scores.values())), means.labels, means.clusters)
    return dict(zip(means.scores, ties.groups.tolist(), strict=True))


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
