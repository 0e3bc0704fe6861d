"""What detectors on one sample set say together: who is ranked, who is tied, and where a row's variance comes from."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

from memdet.metrics import VarianceSplit, area_ties, variance_split
from memdet.results.labels import split_option
from memdet.results.manifest import DetectorEntry
from memdet.results.scores import MeanScores


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
    ties = area_ties(np.stack(list(kept.values())), means.labels, means.clusters, by_seed=means.draws(kept))
    return dict(zip(kept, ties.groups.tolist(), strict=True))


def split_of(label: str, means: MeanScores, *, seeded: bool) -> VarianceSplit | None:
    """The variance split of a detector's row.

    The probes' part is known where the run holds the detector with other values of the option ``draw`` too, which draw
    other random vectors at the same noise.

    Args:
        label: Of the detector.
        means: Of all detectors whose status is ok.
        seeded: Whether scores depend on the seed. If not, all variance is that of the items.

    Returns:
        None where nothing can be told from this run, as with one noise seed.
    """
    if not seeded:
        return VarianceSplit(items=1.0, seeds=0.0, probes=0.0, total=math.nan)
    own = means.by_seed.get(label)
    if own is None:
        return None
    base, _ = split_option(label, "draw")
    others = [
        table.reindex(columns=own.columns).to_numpy(np.float64)
        for other, table in means.by_seed.items()
        if other != label and split_option(other, "draw")[0] == base
    ]
    return variance_split(
        own.to_numpy(np.float64),
        means.labels,
        means.clusters,
        probe_draws=np.stack(others, axis=2) if others else None,
    )


def draws_of(entry: DetectorEntry, table: pd.DataFrame, noise: str | None) -> int | None:
    """How many noise draws move the items of a detector's rows together.

    A starting noise that all items share is one draw a seed, and so are an estimator's random vectors, which all items
    share whatever the noise.

    Args:
        entry: The detector.
        table: Its score rows.
        noise: Of the protocol, ``shared`` or ``per-item``; None where that is not known, and taken as shared.

    Returns:
        None where no draw moves them. With 1 the row's intervals hold items alone.
    """
    seeds = int(table["seed"].nunique())
    products = float(table["jvps"].sum() + table["vjps"].sum())
    if not entry.bound_to_seeds or (seeds == 1 and noise == "per-item" and not products):
        return None
    return seeds
