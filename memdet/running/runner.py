"""Runs detectors over sample sets: batched, resumable, and never stopped by one detector's failure."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from tqdm import tqdm

from memdet.detectors import Detector
from memdet.errors import NotApplicableError, UserError
from memdet.models import ScoreModel, load_model
from memdet.models.acceleration import Accelerated, AccelerationError, Mode, accelerate
from memdet.probing import Cost, Items, Probe
from memdet.probing.evaluations import joins_branches
from memdet.running.batch_size import batch_of, fix_batch_sizes
from memdet.running.batches import items_of, probe_of
from memdet.running.manifest import describe_run, settings_of_run
from memdet.running.memory import is_out_of_memory, keep_freed_memory
from memdet.running.store import SCHEMA_VERSION, RunDirectory, read_manifest
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
    """

    name: str
    model: str
    seed: int
    rows: slice
    items_of_model: int
    detectors: tuple[Detector, ...]


@dataclass(frozen=True)
class RunOptions:
    """How a run is computed.

    Attributes:
        seeds: Noise seeds 0 to seeds - 1; None takes each protocol's own number.
        device, dtype: Of the models.
        batch_size: Items at once, of all sample sets or by their ids. None chooses by the size of a latent on the CPU,
            where a run repeats to the bit, and measures elsewhere; ``measure`` measures everywhere.
        memory_budget: Bytes that a measured batch may take beside the weights; None takes a share of what is free.
        accelerate: How forwards are made faster; see :func:`memdet.models.acceleration.accelerate`.
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
    keep_freed_memory()
    models = models or load_models(sample_sets, options)
    stored = read_manifest(out) if (out / "run.json").is_file() else None
    options, measured = fix_batch_sizes(sample_sets, detectors, models, options, stored)
    work = Work(sample_sets, detectors, options, models)
    settings = settings_of_run(sample_sets, models, detectors, options, {k: _batch(v) for k, v in work.plan.items()})
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "settings": settings,
        "tolerances": {detector.label: detector.tolerance for detector in detectors},
        **({"batch_sizes": measured} if measured else {}),
        **describe_run(command, options),
    }
    directory = RunDirectory(out)
    units = [(name, unit) for name, of_set in work.plan.items() for unit in of_set]
    with directory.open(manifest) as finished:
        if finished:
            return read_manifest(out)
        started = time.perf_counter()
        with tqdm(total=len(units), unit="batch", disable=not progress) as bar:
            if options.workers > 1:
                from memdet.running.workers import compute_in_processes

                for name, count in compute_in_processes(sample_sets, detectors, options, out, units):
                    bar.set_description(name)
                    bar.update(count)
            else:
                for name, unit in units:
                    bar.set_description(name)
                    work.compute(name, unit, directory)
                    bar.update()
        manifest["seconds_total"] = round(time.perf_counter() - started, 1)
        directory.finish([unit.name for _, unit in units], manifest, _described(sample_sets))
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
            scores = torch.as_tensor(raw).detach().double().cpu()
            if scores.shape != (n,):
                raise ValueError(f"score() returned shape {tuple(scores.shape)}, expected ({n},)")
        except NotApplicableError as error:
            return [float("nan")] * n, ["not-applicable"] * n, Cost(), str(error)
        except AccelerationError:
            raise
        except Exception as error:  # the run goes on; the row and the manifest say what happened
            if is_out_of_memory(error):  # nor would the next batch fit
                raise UserError(
                    f"out of memory in {detector.label} with {n} items at once: take another --out and a smaller"
                    " --batch-size, or --batch-size measure with a smaller --memory-budget"
                ) from error
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
        self._owner: tuple[str, str, int] | None = None
        self._memo: dict[Hashable, Any] = {}
        self.plan = {s.id: list(_units(s, self._models, detectors, options)) for s in sample_sets}

    def compute(self, sample_set: str, unit: Unit, directory: RunDirectory) -> None:
        """Score one unit and write its shard, unless it is there."""
        if directory.has(unit.name):
            return
        owner = (sample_set, unit.model, unit.seed)
        if owner != self._owner:
            if "dev" in self._memo:
                self._memo["dev"].forget()
            self._owner, self._memo = owner, {}
        of_set, model = self._sets[sample_set], self._models[unit.model]
        part = self._tables[sample_set].iloc[unit.rows]
        probe = probe_of(
            part,
            of_set,
            model,
            seed=unit.seed,
            n_items=unit.items_of_model,
            seed_memo=self._memo,
            memo=self._options.memo,
        )
        items = items_of(part, of_set, model)
        if isinstance(model, Accelerated) and not all(detector.info.is_control for detector in unit.detectors):
            n, shared = len(items), of_set.protocol.noise == "shared"
            model.prepare({n, *([2 * n] if joins_branches(model, n) else []), *([1] if shared else [])})
        _compute(of_set, part, items, model, unit, probe, directory)
        probe.forget()


def _compute(
    sample_set: SampleSet,
    part: pd.DataFrame,
    items: Items,
    model: ScoreModel,
    unit: Unit,
    probe: Probe,
    directory: RunDirectory,
) -> None:
    rows: dict[str, list[Any]] = {}
    notes: dict[str, Any] = {"sample_set": sample_set.id, "seconds": {}, "messages": {}}
    n = len(items)
    for detector in unit.detectors:
        scores, statuses, cost, message = score_items(model, items, detector, probe)
        notes["seconds"][detector.label] = cost.seconds
        if message:
            notes["messages"][detector.label] = message
        block: dict[str, list[Any]] = {
            "sample_set": [sample_set.id] * n,
            "sample_set_version": [sample_set.version] * n,
            "item_id": list(items.ids),
            "cluster": list(items.clusters),
            "stratum": part["stratum"].tolist(),
            "extraction": part["extraction"].tolist(),
            "label": list(items.labels),
            "detector": [detector.label] * n,
            "detector_version": [detector.info.version] * n,
            "seed": [unit.seed] * n,
            "score": scores,
            "status": statuses,
            "forwards": [cost.forwards] * n,
            "jvps": [cost.jvps] * n,
            "vjps": [cost.vjps] * n,
        }
        for key, values in block.items():
            rows.setdefault(key, []).extend(values)
    directory.write_shard(unit.name, rows, notes)


def _units(
    sample_set: SampleSet, models: Mapping[str, ScoreModel], detectors: Sequence[Detector], options: RunOptions
) -> Iterator[Unit]:
    """Units of work in the order of their rows; a seed-free detector is run for the first seed alone."""
    counts = tested_items(sample_set)["model"].value_counts(sort=False)
    n = int(counts.sum())
    for seed in range(options.seeds or sample_set.protocol.seeds):
        fitting = [d for d in detectors if not d.info.is_control or d.info.task in {"any", sample_set.task}]
        live = [detector for detector in fitting if detector.info.seeded or seed == 0]
        whole = tuple(detector for detector in live if detector.info.whole_set)
        batched = tuple(detector for detector in live if not detector.info.whole_set)
        if whole:
            yield Unit(f"{sample_set.id}-seed{seed:03d}-whole", str(counts.index[0]), seed, slice(0, n), n, whole)
        if batched:
            index, first = 0, 0
            for name, count in counts.items():
                size = batch_of(options, sample_set.id, models[str(name)])
                for start in range(first, first + count, size):
                    rows = slice(start, min(first + count, start + size))
                    shard = f"{sample_set.id}-seed{seed:03d}-{index:06d}"
                    yield Unit(shard, str(name), seed, rows, int(count), batched)
                    index += 1
                first += count


def _described(sample_sets: Sequence[SampleSet]) -> dict[str, list[str]]:
    """What the items of a run were, in the columns of ``items.parquet``."""
    columns: dict[str, list[str]] = {"sample_set": [], "item_id": [], "condition": [], "model": []}
    for sample_set in sample_sets:
        items = tested_items(sample_set)
        columns["sample_set"] += [sample_set.id] * len(items)
        for name in ("item_id", "condition", "model"):
            columns[name] += items[name].tolist()
    return columns


def tested_items(sample_set: SampleSet) -> pd.DataFrame:
    """Items of the test split, those of one model together, in the order in which models first occur."""
    tested = sample_set.items[sample_set.items["split"] == "test"]
    order = {name: index for index, name in enumerate(tested["model"].unique())}
    return tested.sort_values("model", key=lambda names: names.map(order), kind="stable")


def _batch(units: Sequence[Unit]) -> int:
    return max((unit.rows.stop - unit.rows.start for unit in units if not unit.name.endswith("whole")), default=0)


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
                raise UserError(f"{error}{notes}") from None
    return models


def _clock(model: ScoreModel | None) -> float:
    if model is not None and model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()
