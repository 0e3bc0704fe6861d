"""Runs detectors over sample sets: batched, resumable, and never stopped by one detector's failure."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from tqdm import tqdm

from memdet.detectors import Detector
from memdet.errors import UserError
from memdet.models import ScoreModel
from memdet.models.diffusers.certificate import require_certificate
from memdet.results.memory import give_back_memory
from memdet.results.remote import is_address, place_of
from memdet.results.run import Run
from memdet.results.sinks import RunDirectory, sink_for
from memdet.running.description import manifest_of_run, settings_of_run
from memdet.running.engines import compute
from memdet.running.job import Job
from memdet.running.known_conditions import check_conditions
from memdet.running.options import RunOptions
from memdet.running.remarks import LABEL, remarks_on, said_again, say
from memdet.running.scoring import Work, load_models
from memdet.running.workers import check_workers
from memdet.samplesets import SampleSet
from memdet.samplesets.evidence import refuse_contradictions
from memdet.torch_state import in_own_state


@in_own_state
def run(
    sample_sets: Sequence[SampleSet],
    detectors: Sequence[Detector],
    out: Path | str | None = None,
    options: RunOptions | None = None,
    *,
    models: Mapping[str, ScoreModel] | None = None,
    command: str = "",
    progress: bool = True,
) -> Run:
    """Score every test item of every sample set with every detector.

    Called again with the same arguments and directory it resumes: shards that exist are not computed again.

    Args:
        sample_sets: What is scored.
        detectors: What scores; the order is that of the rows.
        out: Run directory, made if missing, or its address, ``s3://bucket/run``; None keeps the run in memory.
        options: How.
        models: By name, where they are loaded already.
        command: Recorded in the manifest.
        progress: Show a bar on standard error.

    Returns:
        The finished run.

    Raises:
        UserError: Two sets or detectors have one name, a set holds one prompt under both labels, a model cannot be
            loaded or knows no such conditions, or ``out`` holds a run of other settings; loaded models for workers.
    """
    options = options or RunOptions()
    _check(sample_sets, detectors, options, out, loaded=bool(models))
    n_items = sum(len(sample_set.items) for sample_set in sample_sets)
    give_back_memory(n_items)
    models = models or load_models(sample_sets, options)
    _check_models(sample_sets, detectors, models)
    work = Work(sample_sets, detectors, options, models)
    batch_sizes = {name: units.batch_size for name, units in work.plan.items()}
    settings = settings_of_run(sample_sets, models, detectors, options, batch_sizes)
    manifest = manifest_of_run(settings, detectors, options, command)
    sink = sink_for(out, manifest)
    with sink.open(manifest) as finished:
        if finished:
            assert isinstance(sink, RunDirectory)
            return said_again(Run.load(sink.path))
        say(remarks := remarks_on(sample_sets, models))
        started = time.perf_counter()
        total = sum(map(len, work.plan.values()))
        with closing(work), tqdm(total=total, unit="batch", disable=not progress) as bar:
            for name, count in compute(Job(sample_sets, detectors, options, work, sink)):
                bar.set_description(name)
                bar.update(count)
        said = {name: {LABEL: texts} for name, texts in remarks.items()}
        seconds = round(time.perf_counter() - started, 1)
        manifest = manifest.model_copy(update={"seconds_total": seconds, "messages": said})
        give_back_memory(n_items)
        names = (unit.name for units in work.plan.values() for unit in units)
        result = sink.finish(names, manifest, work.described())
        give_back_memory(n_items)
    return result


def _check(
    sample_sets: Sequence[SampleSet],
    detectors: Sequence[Detector],
    options: RunOptions,
    out: Path | str | None,
    *,
    loaded: bool,
) -> None:
    """Refuse what cannot be run, before anything is loaded; ``loaded`` says whether the caller has loaded models."""
    if out is not None and is_address(place_of(out)) and options.fetcher.offline:
        raise UserError(f"`out` {out} needs a connection, and offline none is opened", parameters=("out",))
    if options.workers > 1 or options.engine != "local":
        if loaded:
            raise UserError(
                "a loaded model cannot be handed to other processes: name one that each of them can load, or take one "
                "worker, `workers` 1",
                parameters=("workers",),
            )
        check_workers(detectors)
    _check_names(sample_sets, detectors)
    _check_labels(sample_sets)


def _check_models(
    sample_sets: Sequence[SampleSet], detectors: Sequence[Detector], models: Mapping[str, ScoreModel]
) -> None:
    """Refuse models that do not know the conditions, or are not what their own pipelines compute."""
    if all(detector.info.is_control for detector in detectors):  # controls ask no model
        return
    check_conditions(sample_sets, models)
    for model in models.values():
        require_certificate(model)


def _check_names(sample_sets: Sequence[SampleSet], detectors: Sequence[Detector]) -> None:
    """Rows go by these names: two of one name would be taken for one."""
    for kind, names in (("sample sets", [s.id for s in sample_sets]), ("detectors", [d.label for d in detectors])):
        twice = [name for name, n in Counter(names).items() if n > 1]
        if twice:
            raise UserError(f"two {kind} have the name {twice[0]!r}: give one of them another, or run them apart")


def _check_labels(sample_sets: Sequence[SampleSet]) -> None:
    """No prompt stands under both labels."""
    for of_set in sample_sets:
        refuse_contradictions(
            of_set.items, f"sample set {of_set.id}", has_prompts=of_set.has_prompts, noise=of_set.protocol.noise
        )
