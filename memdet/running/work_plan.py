"""What a run consists of: units of work, counted and not listed, since there may be a hundred thousand."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

from memdet.detectors import Detector
from memdet.samplesets import SampleSet

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Unit:
    """What one shard holds: some items of one sample set under one seed, and the detectors that score them.

    Attributes:
        name: Of the shard.
        model: Of the items; a unit of the whole set names the first.
        seed: Of the noise.
        rows: Of the test items, ordered by model.
        items_of_model: How many items of the set the model has.
        detectors: In the order of their rows.
        whole: Whether it is of the whole set.
    """

    name: str
    model: str
    seed: int
    rows: slice
    items_of_model: int
    detectors: tuple[Detector, ...]
    whole: bool = False


@dataclass(frozen=True)
class Section:
    """Units that follow each other: the items of one model under one seed, cut into batches.

    Attributes:
        name: What the units' names start with.
        index: Number of the first unit in its name; None of the whole set.
        model, seed, detectors: Of every unit.
        first, count: Items.
        size: Items of a unit; the last may have fewer.
    """

    name: str
    index: int | None
    model: str
    seed: int
    first: int
    count: int
    size: int
    detectors: tuple[Detector, ...]

    def __len__(self) -> int:
        return -(-self.count // self.size)

    def unit(self, number: int) -> Unit:
        """One of the units, from 0."""
        start = self.first + number * self.size
        rows = slice(start, min(self.first + self.count, start + self.size))
        whole = self.index is None
        name = f"{self.name}-whole" if self.index is None else f"{self.name}-{self.index + number:06d}"
        return Unit(name, self.model, self.seed, rows, self.count, self.detectors, whole)


class Units(Sequence[Unit]):
    """The units of a sample set, in the order of their rows; each is made when it is asked for."""

    def __init__(self, sections: Sequence[Section]) -> None:
        self.sections = sections
        self._ends = list(accumulate(map(len, sections)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Unit:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        place = bisect_right(self._ends, index)
        section = self.sections[place]
        return section.unit(index - self._ends[place] + len(section))

    def owners(self) -> Iterator[tuple[str, int]]:
        """Model and seed of each of :meth:`ranges`."""
        return ((section.model, section.seed) for section in self.sections)

    @property
    def batch_size(self) -> int:
        """Items of the largest unit that is not of the whole set."""
        return max((min(part.size, part.count) for part in self.sections if part.index is not None), default=0)

    def ranges(self) -> Iterator[range]:
        """Indices of the units that share a model and a seed, or are of the whole set, and so follow each other."""
        for end, section in zip(self._ends, self.sections, strict=True):
            yield range(end - len(section), end)


def units_of(
    sample_set: SampleSet,
    tested: pd.DataFrame,
    detectors: Sequence[Detector],
    seeds: int,
    batch_sizes: Mapping[str, int],
) -> Units:
    """Units of a sample set; a seed-free detector is run for the first seed alone.

    Args:
        sample_set: Whose they are.
        tested: Its :func:`tested_items`.
        detectors: Those that do not fit the task are left out.
        seeds: Noise seeds.
        batch_sizes: Items at once, by model.
    """
    counts = {str(name): int(count) for name, count in tested["model"].value_counts(sort=False).items()}
    n = sum(counts.values())
    sections = []
    for seed in range(seeds):
        fitting = [d for d in detectors if not d.info.is_control or d.info.task in {"any", sample_set.task}]
        live = [detector for detector in fitting if detector.info.seeded or seed == 0]
        whole = tuple(detector for detector in live if detector.info.whole_set)
        batched = tuple(detector for detector in live if not detector.info.whole_set)
        name = f"{sample_set.id}-seed{seed:03d}"
        if whole:
            sections.append(Section(name, None, next(iter(counts)), seed, 0, n, n, whole))
        index, first = 0, 0
        for model, count in counts.items() if batched else ():
            section = Section(name, index, model, seed, first, count, batch_sizes[model], batched)
            sections.append(section)
            index, first = index + len(section), first + count
    return Units(sections)


def by_owner(plan: Mapping[str, Units]) -> list[list[tuple[str, range]]]:
    """Units of all sample sets in groups of one model and seed: the sample set of each part, and the units' indices.

    Who computes a group in one go can share what items of several sample sets have in common.
    """
    groups: dict[tuple[str, int], list[tuple[str, range]]] = {}
    for name, units in plan.items():
        for owner, indices in zip(units.owners(), units.ranges(), strict=True):
            groups.setdefault(owner, []).append((name, indices))
    return list(groups.values())


def tested_items(sample_set: SampleSet) -> pd.DataFrame:
    """Items of the test split, those of one model together, in the order in which models first occur."""
    tested = sample_set.items
    if not (kept := tested["split"] == "test").all():
        tested = tested[kept]
    order = {name: index for index, name in enumerate(tested["model"].unique())}
    if len(order) < 2:
        return tested
    return tested.sort_values("model", key=lambda names: names.map(order), kind="stable")
