"""Rows of a sample set's table as items. Imports no torch where they are no images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from numpy.typing import NDArray

from memdet.errors import UserError
from memdet.probing.items import Items
from memdet.samplesets import SampleSet
from memdet.samplesets.near_duplicates import near_duplicates

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from memdet.models import ScoreModel

_TEXTS_AT_ONCE = 1_000


class Texts(Sequence[str]):
    """Texts of a table's column that become Python's one at a time: those of a whole set are many.

    Args:
        values: The column.
    """

    def __init__(self, values: pd.Series) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        found = self._values.iloc[index]
        return Texts(found) if isinstance(index, slice) else str(found)

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _TEXTS_AT_ONCE):
            yield from self._values.iloc[start : start + _TEXTS_AT_ONCE].tolist()


def families_of(sample_set: SampleSet, table: pd.DataFrame) -> NDArray[np.int64]:
    """Family of each item, ``[n]``: near-duplicate prompts joined with the sample set's own clusters.

    Args:
        sample_set: Whose items they are.
        table: The items.
    """
    clusters = table["cluster"].tolist()
    if sample_set.has_prompts:
        return near_duplicates(table["condition"].tolist(), known=clusters)
    _, family = np.unique(np.asarray(clusters), return_inverse=True)
    return family.astype(np.int64)


def by_family(table: pd.DataFrame, families: NDArray[np.int64]) -> pd.DataFrame:
    """Items whose clusters are their families, from :func:`families_of`."""
    return table.assign(cluster=[f"family-{number}" for number in families])


def items_of_whole(part: pd.DataFrame, sample_set: SampleSet, model: ScoreModel | None) -> Items:
    """:func:`items_of` for what scores a whole set in one call; texts stay in the table.

    Clusters are the families of :func:`families_of`: who learns from some prompts of a set must not have seen near
    copies of those that it is tried on.
    """
    grouped = by_family(part, families_of(sample_set, part))
    ids, conditions, clusters = (Texts(grouped[name]) for name in ("item_id", "condition", "cluster"))
    images = _images(part, model) if sample_set.task == "image" else None
    return Items(ids, conditions, clusters, part["label"].tolist(), sample_set.has_prompts, images)


def items_of(part: pd.DataFrame, sample_set: SampleSet, model: ScoreModel | None) -> Items:
    """Rows of a sample set's table as a batch for one model, or for controls, which need none.

    Raises:
        UserError: An image of another shape than the model takes.
    """
    return Items(
        ids=part["item_id"].tolist(),
        conditions=part["condition"].tolist(),
        clusters=part["cluster"].tolist(),
        labels=part["label"].tolist(),
        has_prompts=sample_set.has_prompts,
        images=_images(part, model) if sample_set.task == "image" else None,
    )


def dev_items(sample_set: SampleSet, models: Iterable[str], model: ScoreModel | None) -> Items:
    """Items of the dev split whose models are among ``models``; errors as for :func:`items_of`."""
    table = sample_set.items
    dev = table["split"] == "dev"
    return items_of(table[dev & table["model"].isin(list(models))] if dev.any() else table[:0], sample_set, model)


def tested_by(model: ScoreModel, sample_set: SampleSet) -> pd.DataFrame:
    """Rows of the test split for one model: its own where the set knows it by name, else all."""
    table = sample_set.items
    tested = table[table["split"] == "test"]
    own = tested["model"] == model.name
    return tested[own] if own.any() else tested


def check_asked(model: Any, sample_set: Any, seed: Any) -> None:
    """Refuse what a probe cannot be made of.

    Raises:
        UserError: The names of a model or sample set instead of them, the two swapped, or no seed.
    """
    from memdet.models import ScoreModel

    if not isinstance(model, ScoreModel):
        how = f"memdet.load_model({model!r}) loads it" if isinstance(model, str) else "memdet.load_model loads one"
        raise UserError(f"`model` is a score model, not {type(model).__name__}; {how}")
    if not isinstance(sample_set, SampleSet):
        named = isinstance(sample_set, str)
        how = f"memdet.load_sample_set({sample_set!r}) loads it" if named else "memdet.load_sample_set loads one"
        raise UserError(f"`sample_set` is a sample set, not {type(sample_set).__name__}; {how}")
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise UserError(f"`seed` is {seed!r}; write a whole number")


def positions(rows: Any, count: int) -> slice | list[int]:
    """Positions among so many items, as pandas takes them; below 0 they count from the end.

    Raises:
        UserError: Not a slice or whole numbers, or a position that is not there.
    """
    if isinstance(rows, slice):
        return rows
    if isinstance(rows, str | bytes) or not hasattr(rows, "__iter__"):
        raise UserError(f"`rows` is {rows!r}; write positions as a list or a slice, [3] or slice(3)")
    found = []
    for given in rows:
        if isinstance(given, bool) or not isinstance(given, Integral):
            raise UserError(f"`rows` holds {given!r}; write positions, whole numbers from 0")
        row = int(given)
        found.append(row)
        if not -count <= row < count:
            raise UserError(f"`rows` holds {row}; there are {count} items, 0 to {count - 1}")
    return found


def _images(part: pd.DataFrame, model: ScoreModel | None) -> Tensor:
    """Images of some items, ``[n, *latent_shape]``."""
    import torch

    shape = model.latent_shape if model else (part["image"].iloc[0].shape if len(part) else ())
    for name, image in zip(part["item_id"], part["image"], strict=True):
        if image.shape != shape:
            whose = f"{model.name} takes" if model else "the first is one of shape"
            raise UserError(f"item {name} is an image of shape {image.shape}, {whose} {shape}")
    return (
        torch.from_numpy(np.stack(part["image"].to_list()))
        if len(part)
        else torch.empty(0, *shape, dtype=torch.float32, device="cpu")
    )
