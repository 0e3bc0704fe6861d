"""What detectors on one sample set say together: who is tied with whom, and where a row's variance comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from memdet.metrics import VarianceSplit, auroc, paired_tests, tie_groups, variance_split
from memdet.reports.labels import split_option


def groups_of(means: Mapping[str, pd.DataFrame]) -> dict[str, int]:
    """Tie groups of detectors (:func:`~memdet.metrics.tie_groups`), controls among them.

    Args:
        means: Per-item mean scores of each detector with ``score``, ``label`` and ``cluster``, by item id; all of the
            same items.

    Returns:
        Numbers from 1, by label; empty where one label is missing among the items.
    """
    if not means:
        return {}
    first = next(iter(means.values()))
    labels, clusters = first["label"].to_numpy(np.int64), first["cluster"].to_numpy(str)
    if not 0 < labels.sum() < len(labels):
        return {}
    scores = np.stack([table.loc[first.index, "score"].to_numpy(np.float64) for table in means.values()])
    groups = tie_groups([auroc(row, labels) for row in scores], paired_tests(scores, labels, clusters))
    return dict(zip(means, groups.tolist(), strict=True))


def split_of(label: str, tables: Mapping[str, pd.DataFrame], *, seeded: bool) -> VarianceSplit | None:
    """The variance split of a detector's row.

    The probes' part is known where the run holds the detector with other values of the option ``draw`` too, which draw
    other random vectors at the same noise.

    Args:
        label: Of the detector.
        tables: Rows of the score file by label, of detectors whose status is ok.
        seeded: Whether scores depend on the seed. If not, all variance is that of the items.

    Returns:
        None where nothing can be told from this run, as with one noise seed.
    """
    if not seeded:
        return VarianceSplit(items=1.0, seeds=0.0, probes=0.0, total=math.nan)
    own = _by_seed(tables[label])
    if own.shape[1] < 2:
        return None
    base, _ = split_option(label, "draw")
    others = [
        _by_seed(table).reindex_like(own).to_numpy(np.float64)
        for other, table in tables.items()
        if other != label and split_option(other, "draw")[0] == base
    ]
    items = tables[label].drop_duplicates("item_id").set_index("item_id").loc[own.index]
    return variance_split(
        own.to_numpy(np.float64),
        items["label"].to_numpy(np.int64),
        items["cluster"].to_numpy(str),
        probe_draws=np.stack(others, axis=2) if others else None,
    )


def _by_seed(table: pd.DataFrame) -> pd.DataFrame:
    return table.pivot(index="item_id", columns="seed", values="score")
