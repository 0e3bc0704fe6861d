"""Generates one unit of work after the other: a batch of items under one seed, with every mitigation."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pyarrow as pa
import torch

from memdet.detectors import Detector
from memdet.errors import NotApplicableError
from memdet.mitigating.planted import References, read_references
from memdet.mitigation import Mitigation
from memdet.mitigation.sampler import Sampler
from memdet.models import ScoreModel
from memdet.models.device import synchronise
from memdet.models.images import png_of
from memdet.probing import Context, Cost
from memdet.probing.from_sample_set import items_of
from memdet.results.manifest import Manifest
from memdet.results.run import Run
from memdet.results.shards import Notes
from memdet.results.sinks import RunDirectory, Sink
from memdet.results.store import write_table
from memdet.running.memory import OutOfMemoryError, is_out_of_memory
from memdet.running.options import RunOptions
from memdet.running.scored import Scored
from memdet.running.scoring import Work
from memdet.running.work_plan import Unit
from memdet.samplesets import SampleSet
from memdet.torch_state import seeded_generators

if TYPE_CHECKING:
    import pandas as pd

PICTURES = pa.schema(
    [
        ("sample_set", pa.string()),
        ("mitigation", pa.string()),
        ("item_id", pa.string()),
        ("seed", pa.int64()),
        ("own", pa.float64()),
        ("nearest", pa.float64()),
        ("image", pa.binary()),
    ]
)
"""A row a generation: distances to the nearest own image and to that of any item, and the picture as PNG."""
FOLDER = "pictures"
UNDRAWN = b""
"""In place of a picture whose pixels are not finite numbers, or that was not made."""


class Picture(NamedTuple):
    """A generation: distances to the nearest own image and to the nearest of any item, and a PNG."""

    own: float
    nearest: float
    image: bytes


class MitigationWork(Work):
    """Computes the units of a run of mitigations; their scores are minus the distance to the nearest own image.

    So a row of the score table is what planted extraction looks at, and larger means more of a copy. The pictures of a
    unit are written before its shard, in the folder ``pictures`` of the run, so that a shard that is there has them.

    Args:
        sample_sets: One alone, of captions of planted models.
        detectors: Mitigations, in the order of their rows. The runner asks of what it runs a label and an ``info``, as
            detectors and mitigations both have it.
        options: How it is computed.
        models: By name; loaded if not given.
    """

    def __init__(
        self,
        sample_sets: Sequence[SampleSet],
        detectors: Sequence[Detector],
        options: RunOptions,
        models: Mapping[str, ScoreModel] | None = None,
    ) -> None:
        super().__init__(sample_sets, detectors, options, models)
        self._references: dict[str, References] = {}
        self._made: dict[tuple[str, str], Picture] = {}

    def compute(self, sample_set: str, unit: Unit, sink: Sink) -> None:
        """Generate one unit and hand its pictures and its shard over, unless they are there.

        Raises:
            OutOfMemoryError: Not even one item fits.
        """
        self._made = {}
        super().compute(sample_set, unit, WithPictures(sink, lambda: self._pictures(sample_set, unit)))

    def _score(self, of_set: SampleSet, part: pd.DataFrame, model: ScoreModel, unit: Unit) -> list[Scored]:
        items = items_of(part, of_set, model)
        captions = self._tables[of_set.id]["condition"].tolist()
        context = Context(of_set.protocol, unit.seed, unit.items_of_model)
        found = []
        for mitigation in cast("Sequence[Mitigation]", unit.detectors):
            sampler = Sampler.of(model, items, context, captions=captions, dev=self._dev, memory=self._memory)
            scored, pictures = self._generated(mitigation, sampler, unit.model)
            found.append(scored)
            self._made |= {(mitigation.label, item): one for item, one in zip(items.ids, pictures, strict=True)}
        return found

    def _generated(self, mitigation: Mitigation, sampler: Sampler, name: str) -> tuple[Scored, list[Picture]]:
        """One mitigation on one batch of a model of that name; whatever goes wrong is kept inside the rows."""
        n, nothing = len(sampler), Picture(np.nan, np.nan, UNDRAWN)
        try:
            started = _clock(sampler.model)
            with seeded_generators(mitigation.label, sampler.seed, n, *sampler.ids[:1]):
                latents = mitigation.sample(sampler)
            seconds = _clock(sampler.model) - started
            if tuple(latents.shape) != (n, *sampler.model.latent_shape):
                raise ValueError(f"sample() returned shape {tuple(latents.shape)}")
            pictures = self._judged(sampler.model, name, latents.detach(), sampler.ids)
        except NotApplicableError as error:
            return Scored([np.nan] * n, ["not-applicable"] * n, Cost(), str(error)), [nothing] * n
        except Exception as error:  # the run goes on; the row and the manifest say what happened
            if is_out_of_memory(error):
                raise OutOfMemoryError(mitigation.label, n) from error
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            return Scored([np.nan] * n, ["error"] * n, Cost(), message), [nothing] * n
        price = sampler.whole.price
        forwards, jvps, vjps = (float(paid.mean()) for paid in (price.forwards, price.jvps, price.vjps))
        cost = Cost(forwards, jvps, vjps, seconds)
        statuses = ["ok" if np.isfinite(one.own) else "nonfinite" for one in pictures]
        message = "; ".join(sampler.whole.notes)
        return Scored([-one.own for one in pictures], statuses, cost, message), pictures

    def _judged(self, model: ScoreModel, name: str, latents: torch.Tensor, items: list[str]) -> list[Picture]:
        if name not in self._references:
            self._references[name] = read_references(model, name)
        own, nearest = self._references[name].distances(latents, items)
        images = [png_of(image) or UNDRAWN for image in model.decode(latents)]
        return [Picture(*one) for one in zip(own.tolist(), nearest.tolist(), images, strict=True)]

    def _pictures(self, sample_set: str, unit: Unit) -> pa.Table:
        """Rows of :data:`PICTURES`, a mitigation after the other."""
        ids = self._tables[sample_set].iloc[unit.rows]["item_id"].tolist()
        keys = [(one.label, item) for one in unit.detectors for item in ids]
        made = [self._made[key] for key in keys]
        labels, items = ([key[place] for key in keys] for place in (0, 1))
        columns = [
            [sample_set] * len(keys),
            labels,
            items,
            [unit.seed] * len(keys),
            *map(list, zip(*made, strict=True)),
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, PICTURES, strict=True)]
        return pa.table(arrays, schema=PICTURES)


class WithPictures(Sink):
    """A sink that takes the pictures of a unit before its shard.

    Args:
        inner: A run directory.
        pictures: Gives the rows of :data:`PICTURES` of the unit that is written.
    """

    def __init__(self, inner: Sink, pictures: Callable[[], pa.Table]) -> None:
        assert isinstance(inner, RunDirectory)
        self._inner, self._pictures = inner, pictures

    @contextmanager
    def open(self, manifest: Manifest) -> Iterator[bool]:
        """As the run directory."""
        with self._inner.open(manifest) as finished:
            yield finished

    def has(self, unit: str, expected: Callable[[], pa.Table]) -> bool:
        """Whether both are there."""
        return picture_file(self._inner.path, unit).is_file() and self._inner.has(unit, expected)

    def write_shard(self, unit: str, rows: pa.Table, notes: Notes) -> None:
        """Keep the pictures, then the rows."""
        write_table(self._pictures(), picture_file(self._inner.path, unit))
        self._inner.write_shard(unit, rows, notes)

    def finish(self, units: Iterable[str], manifest: Manifest, items: Iterable[pa.Table]) -> Run:
        """As the run directory."""
        return self._inner.finish(units, manifest, items)


def picture_file(directory: Path, unit: str) -> Path:
    """Where the pictures of a unit lie while a run is computed."""
    return directory / FOLDER / f"{unit}.parquet"


def _clock(model: ScoreModel) -> float:
    synchronise(model.device)
    return time.perf_counter()
