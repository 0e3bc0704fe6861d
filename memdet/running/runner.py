"""Runs detectors over sample sets: batched, resumable, and never stopped by one detector's failure."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
import torch
from tqdm import tqdm

from memdet.detectors import Detector
from memdet.errors import NotApplicableError, UserError
from memdet.models import ScoreModel, load_model
from memdet.models.accelerated import Accelerated, AccelerationError, Mode, accelerate
from memdet.models.device import synchronise
from memdet.probing import Cost, Items, Probe
from memdet.probing.joining import rows_of_calls
from memdet.results.store import ITEMS, ROWS_AT_ONCE, SCHEMA_VERSION, SCORES, RunDirectory, read_manifest
from memdet.running.batch_size import batch_of, fix_batch_sizes
from memdet.running.batching import dev_items, items_of, items_of_whole, probe_of
from memdet.running.description import describe_run, settings_of_run
from memdet.running.memory import OutOfMemoryError, give_back_memory, is_out_of_memory, keep_freed_memory
from memdet.running.work_plan import Unit, tested_items, units_of
from memdet.samplesets import SampleSet

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class RunOptions:
    """How a run is computed.

    Attributes:
        seeds: Noise seeds 0 to seeds - 1; None takes each protocol's own number.
        device, dtype: Of the models.
        batch_size: Items at once, of all sample sets or by their ids. None chooses by the size of a latent on the CPU,
            where a run repeats to the bit, and measures elsewhere; ``measure`` measures everywhere.
        memory_budget: Bytes that a measured batch may take beside the weights; None takes a share of what is free.
        accelerate: How forwards are made faster; see :func:`memdet.models.accelerated.accelerate`.
        memo: False recomputes what detectors could share.
        workers: Processes that share the units; each takes its part of the cores. CPU only.
        offline: Take hub models from the cache alone, and open no connection.
    """

    seeds: int | None = None
    device: str = "cpu"
    dtype: torch.dtype = torch.float32
    batch_size: int | Mapping[str, int] | Literal["measure"] | None = None
    memory_budget: float | None = None
    accelerate: Mode = "off"
    memo: bool = True
    workers: int = 1
    offline: bool = False


def run(
    sample_sets: Sequence[SampleSet],
    detectors: Sequence[Detector],
    out: Path,
    options: RunOptions | None = None,
    *,
    models: Mapping[str, ScoreModel] | None = None,
    command: str = "",
    progress: bool = True,
) -> dict[str, Any]:
    """Score every test item of every sample set with every detector; write the run directory.

    Called again with the same arguments it resumes: shards that exist are not computed again.

    Args:
        sample_sets: What is scored.
        detectors: What scores; the order is that of the rows.
        out: Run directory, made if missing.
        options: How.
        models: By name, where they are loaded already.
        command: Recorded in the manifest.
        progress: Show a bar on standard error.

    Returns:
        The manifest, as written to ``run.json``.

    Raises:
        UserError: A model cannot be loaded, or ``out`` holds a run of other settings.
    """
    options = options or RunOptions()
    n_items = sum(len(sample_set.items) for sample_set in sample_sets)
    give_back_memory(n_items)
    keep_freed_memory()
    models = models or load_models(sample_sets, options)
    stored = read_manifest(out) if (out / "run.json").is_file() else None
    options, measured = fix_batch_sizes(sample_sets, detectors, models, options, stored)
    work = Work(sample_sets, detectors, options, models)
    batch_sizes = {name: units.batch_size for name, units in work.plan.items()}
    settings = settings_of_run(sample_sets, models, detectors, options, batch_sizes)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "settings": settings,
        "tolerances": {detector.label: detector.tolerance for detector in detectors},
        **({"batch_sizes": measured} if measured else {}),
        **describe_run(command, options),
    }
    directory = RunDirectory(out)
    with directory.open(manifest) as finished:
        if finished:
            return read_manifest(out)
        started = time.perf_counter()
        with tqdm(total=sum(map(len, work.plan.values())), unit="batch", disable=not progress) as bar:
            if options.workers > 1:
                from memdet.running.workers import compute_in_processes

                for name, count in compute_in_processes(sample_sets, detectors, options, out, work.plan):
                    bar.set_description(name)
                    bar.update(count)
            else:
                for name, units in work.plan.items():
                    bar.set_description(name)
                    for unit in units:
                        work.compute(name, unit, directory)
                        bar.update()
        manifest["seconds_total"] = round(time.perf_counter() - started, 1)
        give_back_memory(n_items)
        names = (unit.name for units in work.plan.values() for unit in units)
        directory.finish(names, manifest, work.described())
        give_back_memory(n_items)
    return read_manifest(out)


def score_items(
    model: ScoreModel | None, items: Items, detector: Detector, probe: Probe
) -> tuple[list[float], list[str], Cost, str]:
    """Score one batch with one detector and keep whatever goes wrong inside the row.

    Returns:
        Scores, a status each, the cost per item, and a message (empty if all is well).
    """
    n = len(items)
    with probe.charge(supervised=detector.info.supervised) as cost:
        start = _clock(model)
        try:
            raw = detector.score(probe)
            scores = torch.as_tensor(raw).detach().cpu().double()
            if scores.shape != (n,):
                raise ValueError(f"score() returned shape {tuple(scores.shape)}, expected ({n},)")
        except NotApplicableError as error:
            return [float("nan")] * n, ["not-applicable"] * n, Cost(), str(error)
        except AccelerationError:
            raise
        except Exception as error:  # the run goes on; the row and the manifest say what happened
            if is_out_of_memory(error):  # nor would the next batch fit
                raise OutOfMemoryError(detector.label, n) from error
            message = f"{type(error).__name__}: {error}".splitlines()[0]
            return [float("nan")] * n, ["error"] * n, Cost(), message
        cost.seconds += _clock(model) - start
    finite = torch.isfinite(scores).tolist()
    message = "" if all(finite) else f"{n - sum(finite)} scores are not finite"
    return scores.tolist(), ["ok" if good else "nonfinite" for good in finite], cost, message


class Work:
    """Computes the units of a run one after the other, and keeps what those of one seed share.

    Args:
        sample_sets: Of the run.
        detectors: In the order of their rows.
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
        self._options = options
        loaded = models or load_models(sample_sets, options)
        self._models = {name: accelerate(model, options.accelerate) for name, model in loaded.items()}
        self._sets = {s.id: s for s in sample_sets}
        self._tables = {s.id: tested_items(s) for s in sample_sets}
        self._owner: tuple[str, str, int, bool] | None = None
        self._memo: dict[Hashable, Any] = {}
        self._dev: Items | None = None
        self.plan = {
            s.id: units_of(
                s,
                self._tables[s.id],
                detectors,
                options.seeds or s.protocol.seeds,
                {name: batch_of(options, s.id, model) for name, model in self._models.items()},
            )
            for s in sample_sets
        }

    def compute(self, sample_set: str, unit: Unit, directory: RunDirectory) -> None:
        """Score one unit and write its shard, unless it is there."""
        if directory.has(unit.name):
            return
        owner = (sample_set, unit.model, unit.seed, unit.whole)
        if owner != self._owner:
            if "dev" in self._memo:
                self._memo["dev"].forget()
            self._owner, self._memo, self._dev = owner, {}, None
        of_set, model = self._sets[sample_set], self._models[unit.model]
        part = self._tables[sample_set].iloc[unit.rows]
        if self._dev is None and not unit.whole:
            self._dev = dev_items(of_set, [unit.model], model)
        items = items_of_whole(part, of_set, model) if unit.whole else items_of(part, of_set, model)
        probe = probe_of(
            part,
            of_set,
            model,
            seed=unit.seed,
            n_items=unit.items_of_model,
            seed_memo=self._memo,
            first_batch=unit.first_batch,
            null_alone=self._options.workers > 1,
            memo=self._options.memo,
            items=items,
            dev=None if unit.whole else self._dev,
        )
        if isinstance(model, Accelerated) and not all(detector.info.is_control for detector in unit.detectors):
            try:
                model.prepare(rows_of_calls(model, len(items), of_set.protocol.noise))
            except Exception as error:
                if is_out_of_memory(error):
                    raise OutOfMemoryError(f"--accelerate {self._options.accelerate}", len(items)) from error
                raise
        _compute(of_set, part, items, model, unit, probe, directory)
        probe.forget()
        if unit.whole:
            give_back_memory(len(part))

    def described(self) -> Iterator[pa.Table]:
        """What the items of the run were, in the columns of ``items.parquet``, some of them at a time."""
        for name, table in self._tables.items():
            for start in range(0, len(table), ROWS_AT_ONCE):
                part = table.iloc[start : start + ROWS_AT_ONCE]
                columns = [pa.array(part[column], pa.string()) for column in ITEMS.names[1:]]
                yield pa.table([pa.repeat(name, len(part)), *columns], schema=ITEMS)


def _compute(
    sample_set: SampleSet,
    part: pd.DataFrame,
    items: Items,
    model: ScoreModel,
    unit: Unit,
    probe: Probe,
    directory: RunDirectory,
) -> None:
    n = len(items)
    of_items = {
        "item_id": pa.array(items.ids, pa.string()),
        "cluster": pa.array(items.clusters, pa.string()),
        "stratum": pa.array(part["stratum"].tolist(), pa.string()),
        "extraction": pa.array(part["extraction"].tolist(), pa.float64()),
        "label": pa.array(items.labels, pa.int64()),
    }
    blocks = []
    notes: dict[str, Any] = {"sample_set": sample_set.id, "seconds": {}, "messages": {}}
    for detector in unit.detectors:
        scores, statuses, cost, message = score_items(model, items, detector, probe)
        notes["seconds"][detector.label] = cost.seconds
        if message:
            notes["messages"][detector.label] = message
        same: dict[str, Any] = {
            "sample_set": sample_set.id,
            "sample_set_version": sample_set.version,
            "detector": detector.label,
            "detector_version": detector.info.version,
            "seed": unit.seed,
            "forwards": cost.forwards,
            "jvps": cost.jvps,
            "vjps": cost.vjps,
        }
        columns = of_items | {
            name: pa.repeat(pa.scalar(value, SCORES.field(name).type), n) for name, value in same.items()
        }
        columns |= {"score": pa.array(scores, pa.float64()), "status": pa.array(statuses, pa.string())}
        blocks.append(pa.table([columns[name] for name in SCORES.names], schema=SCORES))
    directory.write_shard(unit.name, pa.concat_tables(blocks), notes)


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
                models[name] = load_model(name, device=options.device, dtype=options.dtype, offline=options.offline)
            except UserError as error:
                known = [asset for asset in sample_set.spec.assets if asset.name == "model"] if sample_set.spec else []
                notes = "".join(f"; {sample_set.id}: {' '.join([a.address, a.status, *a.mirrors])}" for a in known)
                raise UserError(f"{error}{notes}", parameters=error.parameters) from None
    return models


def _clock(model: ScoreModel | None) -> float:
    if model is not None:
        synchronise(model.device)
    return time.perf_counter()
