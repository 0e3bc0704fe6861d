"""Scores one unit of work after the other: a batch of items under one seed, with every detector."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from memdet.detectors import Detector
from memdet.errors import NotApplicableError, UserError
from memdet.models import ScoreModel, load_model
from memdet.models.accelerated import Accelerated, AccelerationError, accelerate
from memdet.models.device import synchronise
from memdet.probing import Context, Cost, Items, Policy, Probe, SeedMemory
from memdet.probing.branch_policy import rows_of_calls
from memdet.probing.from_sample_set import dev_items, items_of, items_of_whole
from memdet.results.memory import give_back_memory
from memdet.results.schema import ITEMS, ROWS_AT_ONCE, SCORES
from memdet.results.shards import SCORED, Notes
from memdet.results.sinks import Sink
from memdet.running.aside import Aside
from memdet.running.batch_size import batch_of
from memdet.running.memory import OutOfMemoryError, is_out_of_memory
from memdet.running.options import RunOptions
from memdet.running.repeats import Repeats
from memdet.running.scored import Scored
from memdet.running.touched import Touched
from memdet.running.work_plan import Unit, tested_items, units_of
from memdet.samplesets import SampleSet
from memdet.source_files import NOBODYS, talking_aside
from memdet.torch_state import seeded_generators
from memdet.user_code import is_foreign

if TYPE_CHECKING:
    import pandas as pd


def score_items(model: ScoreModel | None, items: Items, detector: Detector, probe: Probe) -> Scored:
    """Score one batch with one detector and keep whatever goes wrong inside the row.

    Args:
        model: Of the items; None for controls, which need none.
        items: The batch.
        detector: What scores.
        probe: Of the batch.

    Raises:
        OutOfMemoryError: The batch does not fit.
        AccelerationError: The network cannot be made faster; the whole run is concerned.
    """
    n = len(items)
    try:
        with (
            drawing_alike(detector, probe),
            talking_aside(),
            probe.charge(supervised=detector.info.supervised) as cost,
        ):
            start = _clock(model)
            raw = detector.score(probe)
            scores = torch.as_tensor(raw).detach().cpu()
            if scores.shape != (n,):
                raise ValueError(f"score() returned shape {tuple(scores.shape)}, expected ({n},)")
            if scores.is_complex():  # which would lose their imaginary parts without a word
                raise TypeError("score() returned complex numbers, which have no order")
            scores = scores.double()
            cost.seconds += _clock(model) - start
    except NotApplicableError as error:
        return Scored([float("nan")] * n, ["not-applicable"] * n, Cost(), str(error))
    except AccelerationError:
        raise
    except BaseException as error:  # the run goes on; the row and the manifest say what happened
        if not isinstance(error, Exception | SystemExit) and not _is_of_a_user(type(error)):
            raise
        if is_out_of_memory(error):
            raise OutOfMemoryError(detector.label, n) from error
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        return Scored([float("nan")] * n, ["error"] * n, Cost(), message)
    finite = torch.isfinite(scores).tolist()
    message = "; ".join(([] if all(finite) else [f"{n - sum(finite)} scores are not finite"]) + probe.evaluator.notes)
    return Scored(scores.tolist(), ["ok" if good else "nonfinite" for good in finite], cost, message)


def drawing_alike(detector: Detector, probe: Probe) -> AbstractContextManager[None]:
    """Inside, what a detector draws from the generators of the process is the same for the same batch and seed.

    None of memdet's own draws from them. Such scores come out the same again, but are those of the batch: an item in
    another one gets another draw, which :mod:`memdet.testing.check_detector` reports.
    """
    ids = probe.evaluator.items.ids
    return seeded_generators(detector.label, probe.seed, len(ids), *ids[:1])


class Work:
    """Computes the units of a run one after the other, and keeps what those of one seed share.

    Args:
        sample_sets: Of the run.
        detectors: In the order of their rows.
        options: How it is computed.
        models: By name; loaded if not given.
        watched: Whether detectors of others may change nothing that those of memdet share with them.

    Attributes:
        plan: Units of each sample set.
    """

    def __init__(
        self,
        sample_sets: Sequence[SampleSet],
        detectors: Sequence[Detector],
        options: RunOptions,
        models: Mapping[str, ScoreModel] | None = None,
        *,
        watched: bool = True,
    ) -> None:
        loaded = models or load_models(sample_sets, options)
        self._policy = Policy(memo=options.memo)
        self._accelerated = options.accelerate
        self._models = {name: accelerate(model, options.accelerate) for name, model in loaded.items()}
        self._sets = {s.id: s for s in sample_sets}
        self._tables = {s.id: tested_items(s) for s in sample_sets}
        self._owner: Hashable = None
        self._memory = SeedMemory()
        self._dev: Items | None = None
        self._repeats = Repeats(sample_sets, self._tables)
        self._fits: dict[tuple[str, str], int] = {}  # items at once, where the planned batch did not fit
        self._foreign = frozenset(detector.label for detector in detectors if is_foreign(detector))
        theirs = [detector for detector in detectors if detector.label in self._foreign]
        self._aside = Aside(sample_sets, theirs, options, type(self)) if options.isolate_plugins and theirs else None
        self._touched = Touched() if watched and theirs and not self._aside else None
        self.plan = {
            s.id: units_of(
                s,
                self._tables[s.id],
                detectors,
                options.seeds or s.protocol.seeds,
                {name: batch_of(options, model) for name, model in self._models.items()},
            )
            for s in sample_sets
        }

    def compute(self, sample_set: str, unit: Unit, sink: Sink) -> None:
        """Score one unit and hand its shard over, unless it is there.

        Raises:
            OutOfMemoryError: Not even one item fits.
        """
        if self.is_stored(sample_set, unit, sink):
            return
        part = self._tables[sample_set].iloc[unit.rows]
        of_set, model = self._begin(sample_set, unit)
        planned, fits = len(part), self._fits.get((sample_set, unit.model), len(part))
        while True:
            try:
                batches = [part.iloc[start : start + fits] for start in range(0, planned, fits)]
                scored = [self._score(of_set, batch, model, unit) for batch in batches]
                break
            except OutOfMemoryError as error:
                if unit.whole or fits == 1:
                    raise
                give_back_device_memory(model)
                fits = max(1, min(fits, error.items) // 2)
                self._fits[sample_set, unit.model] = fits
        found = {
            detector.label: Scored.joined([of_batch[index] for of_batch in scored])
            for index, detector in enumerate(unit.detectors)
        }
        notes = Notes(
            sample_set=sample_set,
            seconds={label: scored.cost.seconds for label, scored in found.items()},
            messages={label: scored.message for label, scored in found.items() if scored.message},
            halved=fits if fits < planned else None,
        )
        sink.write_shard(unit.name, _shard(of_set, part, unit, list(found.values())), notes)
        if unit.whole:
            give_back_memory(planned)

    def is_stored(self, sample_set: str, unit: Unit, sink: Sink) -> bool:
        """Whether the shard of a unit is there."""
        part = self._tables[sample_set].iloc[unit.rows]
        return sink.has(unit.name, lambda: _about(self._sets[sample_set], part, unit))

    def fingerprints(self) -> dict[str, str]:
        """Of the models, by name."""
        return {name: model.fingerprint() for name, model in self._models.items()}

    def score(self, sample_set: str, ids: Sequence[str], unit: Unit) -> list[Scored]:
        """Scores of some items of a unit, for a process that keeps none: one of each detector of the unit.

        Raises:
            OutOfMemoryError: They do not fit.
        """
        of_set, model = self._begin(sample_set, unit)
        table = self._tables[sample_set]
        part = table[table["item_id"].isin(ids) & (table["model"] == unit.model)] if not unit.whole else table
        return self._ask(of_set, part, model, unit, unit.detectors)

    def close(self) -> None:
        """End the process that computes detectors of others, where there is one."""
        if self._aside is not None:
            self._aside.close()

    def _begin(self, sample_set: str, unit: Unit) -> tuple[SampleSet, ScoreModel]:
        """Sample set and model of a unit; what belongs to another seed is forgotten."""
        owner = (sample_set, unit.model, unit.seed, unit.whole)
        if owner != self._owner:
            self._memory.forget()
            self._owner, self._memory, self._dev = owner, SeedMemory(), None
            self._repeats.begin(unit.model, unit.seed)
        of_set, model = self._sets[sample_set], self._models[unit.model]
        if self._dev is None and not unit.whole:
            self._dev = dev_items(of_set, [unit.model], model)
        return of_set, model

    def _score(self, of_set: SampleSet, part: pd.DataFrame, model: ScoreModel, unit: Unit) -> list[Scored]:
        """Every detector of the unit on some of its items, of which some may have been scored in another sample set."""
        if unit.whole or not (known := self._repeats.known(of_set.id, part)).any():
            return self._ask(of_set, part, model, unit, unit.detectors)
        old, new = part[known], part[~known]
        left = self._repeats.left(of_set.id, old, unit.detectors)
        again = dict(zip(left, self._ask(of_set, old, model, unit, left), strict=True))
        parts = [[again.get(d) or self._repeats.recall(of_set.id, old, d.label)] for d in unit.detectors]
        if len(new):
            for of_detector, scored in zip(parts, self._ask(of_set, new, model, unit, unit.detectors), strict=True):
                of_detector.append(scored)
        places = [*np.flatnonzero(known).tolist(), *np.flatnonzero(~known).tolist()]
        return [Scored.joined(of_detector).at(places) for of_detector in parts]

    def _ask(
        self,
        of_set: SampleSet,
        part: pd.DataFrame,
        model: ScoreModel,
        unit: Unit,
        detectors: Sequence[Detector],
    ) -> list[Scored]:
        """Detectors on items that are a batch of their own; those of others in their process, if they have one."""
        if self._aside is None:
            return self._ask_here(of_set, part, model, unit, detectors)
        near = [detector for detector in detectors if detector.label not in self._foreign]
        found = iter(self._ask_here(of_set, part, model, unit, near) if near else ())
        ids = part["item_id"].tolist()
        return [
            self._aside.ask(of_set.id, ids, unit, detector) if detector.label in self._foreign else next(found)
            for detector in detectors
        ]

    def _ask_here(
        self,
        of_set: SampleSet,
        part: pd.DataFrame,
        model: ScoreModel,
        unit: Unit,
        detectors: Sequence[Detector],
    ) -> list[Scored]:
        items = items_of_whole(part, of_set, model) if unit.whole else items_of(part, of_set, model)
        if not any(detector.info.supervised for detector in detectors):
            items = replace(items, labels=())  # which nobody is to find
        context = Context(of_set.protocol, unit.seed, unit.items_of_model, self._policy)
        probe = Probe(model, items, context, memory=self._memory, dev=None if unit.whole else self._dev)
        try:
            if isinstance(model, Accelerated) and not all(detector.info.is_control for detector in detectors):
                self._prepare(model, items, of_set)
            if self._touched is not None:
                self._touched.remember(model, items, context)
            found = []
            for detector in detectors:
                found.append(score_items(model, items, detector, probe))
                if self._touched is not None and detector.label in self._foreign:
                    self._touched.check(model, detector)
        finally:
            probe.forget()
        if not unit.whole:
            self._repeats.keep(of_set.id, part, list(zip(detectors, found, strict=True)))
        return found

    def _prepare(self, model: Accelerated, items: Items, of_set: SampleSet) -> None:
        try:
            model.prepare(rows_of_calls(model, len(items), of_set.protocol.noise), items.conditions[0])
        except Exception as error:
            if is_out_of_memory(error):
                raise OutOfMemoryError(f"acceleration by {self._accelerated}", len(items)) from error
            raise

    def described(self) -> Iterator[pa.Table]:
        """What the items of the run were, in the columns of ``items.parquet``, some of them at a time."""
        for name, table in self._tables.items():
            for start in range(0, len(table), ROWS_AT_ONCE):
                part = table.iloc[start : start + ROWS_AT_ONCE]
                columns = [pa.array(part[column], pa.string()) for column in ITEMS.names[1:]]
                yield pa.table([pa.repeat(name, len(part)), *columns], schema=ITEMS)


def _is_of_a_user(cls: type) -> bool:
    """Whether a class is somebody's own exception, and none of Python's or memdet's."""
    return cls.__module__.partition(".")[0] not in NOBODYS


def load_models(sample_sets: Sequence[SampleSet], options: RunOptions) -> dict[str, ScoreModel]:
    """Models of all items, by name.

    Raises:
        UserError: One cannot be loaded; what the spec knows of its whereabouts is added.
    """
    models: dict[str, ScoreModel] = {}
    for sample_set in sample_sets:
        for name in sample_set.items["model"].unique():
            if name in models:
                continue
            try:
                models[name] = load_model(
                    name,
                    device=options.device,
                    dtype=options.dtype,
                    fetcher=options.fetcher,
                    options=options.loading.get(name),
                )
            except UserError as error:
                known = [asset for asset in sample_set.spec.assets if asset.name == "model"] if sample_set.spec else []
                notes = "".join(f"; {sample_set.id}: {' '.join([a.address, a.status, *a.mirrors])}" for a in known)
                raise UserError(f"{error}{notes}", parameters=error.parameters) from None
    return models


def give_back_device_memory(model: ScoreModel) -> None:
    """Have the allocator of a GPU give back what it holds free, before something smaller is tried."""
    if model.device.type == "cuda":
        torch.cuda.empty_cache()


def _shard(sample_set: SampleSet, part: pd.DataFrame, unit: Unit, found: Sequence[Scored]) -> pa.Table:
    """Rows of the score table, a detector after the other."""
    n, about = len(part), _about(sample_set, part, unit)
    columns = {
        "score": pa.array([score for scored in found for score in scored.scores], pa.float64()),
        "status": pa.array([status for scored in found for status in scored.statuses], pa.string()),
    }
    for name in ("forwards", "jvps", "vjps"):
        costs = np.array([getattr(scored.cost, name) for scored in found], np.float64)
        columns[name] = pa.array(np.repeat(costs, n), pa.float64())
    return pa.table([columns[name] if name in SCORED else about[name] for name in SCORES.names], schema=SCORES)


def _about(sample_set: SampleSet, part: pd.DataFrame, unit: Unit) -> pa.Table:
    """What the rows of a unit are about: all columns that are known before it is computed."""
    fields = [field for field in SCORES if field.name not in SCORED]
    of_items = {f.name: pa.array(part[f.name].tolist(), f.type) for f in fields if f.name in part}
    blocks = []
    for detector in unit.detectors:
        same: dict[str, Any] = {
            "sample_set": sample_set.id,
            "sample_set_version": sample_set.version,
            "detector": detector.label,
            "detector_version": detector.info.version,
            "seed": unit.seed,
        }
        columns = of_items | {
            name: pa.repeat(pa.scalar(value, SCORES.field(name).type), len(part)) for name, value in same.items()
        }
        blocks.append(pa.table([columns[field.name] for field in fields], schema=pa.schema(fields)))
    return pa.concat_tables(blocks)


def _clock(model: ScoreModel | None) -> float:
    if model is not None:
        synchronise(model.device)
    return time.perf_counter()
