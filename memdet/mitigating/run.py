"""Runs mitigations over a sample set of a planted model: resumable, item by item and seed by seed."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from memdet.detectors import Detector
from memdet.errors import UserError
from memdet.mitigating.generations import Generations
from memdet.mitigating.planted import read_rule, require_items
from memdet.mitigating.work import FOLDER, PICTURES, MitigationWork, picture_file
from memdet.mitigation import Mitigation
from memdet.models.diffusers.certificate import require_certificate
from memdet.results.sinks import RunDirectory
from memdet.results.store import GENERATION_FILE, write_tables
from memdet.running.description import manifest_of_run, settings_of_run
from memdet.running.engines import compute
from memdet.running.job import Job
from memdet.running.known_conditions import check_conditions
from memdet.running.options import RunOptions
from memdet.running.remarks import LABEL, remarks_on, say
from memdet.running.scoring import load_models
from memdet.running.workers import check_workers
from memdet.samplesets import SampleSet
from memdet.torch_state import in_own_state


@in_own_state
def mitigate(
    sample_set: SampleSet,
    mitigations: Sequence[Mitigation],
    out: Path,
    options: RunOptions | None = None,
    *,
    command: str = "",
    progress: bool = True,
) -> Generations:
    """Generate from every test caption with every mitigation, and hold each image against the planted one.

    Called again with the same arguments and directory it resumes: what is done is not computed again.

    Args:
        sample_set: Captions of a planted model.
        mitigations: From :func:`memdet.mitigation.make_mitigations`, which puts the controls first.
        out: Run directory, made if missing.
        options: How.
        command: Recorded in the manifest.
        progress: Show a bar on standard error.

    Returns:
        The generations of the finished run.

    Raises:
        UserError: The set is not of planted captions, two mitigations have one name, a model cannot be loaded, or
            ``out`` holds a run of other settings.
    """
    options = options or RunOptions()
    _check(sample_set, mitigations, options)
    models = load_models([sample_set], options)
    check_conditions([sample_set], models)
    for model in models.values():
        require_certificate(model)
    run_as = cast("Sequence[Detector]", mitigations)  # the runner asks for a label and an info, which both have
    work = MitigationWork([sample_set], run_as, options, models)
    sizes = {name: units.batch_size for name, units in work.plan.items()}
    settings = settings_of_run([sample_set], models, run_as, options, sizes)
    manifest = manifest_of_run(settings, run_as, options, command)
    sink = RunDirectory(Path(out))
    with sink.open(manifest) as finished:
        if finished:
            return Generations.load(Path(out))
        (sink.path / FOLDER).mkdir(exist_ok=True)
        say(remarks := remarks_on([sample_set], models))
        started = time.perf_counter()
        with tqdm(total=sum(map(len, work.plan.values())), unit="batch", disable=not progress) as bar:
            for name, count in compute(Job([sample_set], run_as, options, work, sink)):
                bar.set_description(name)
                bar.update(count)
        said = {name: {LABEL: texts} for name, texts in remarks.items()}
        seconds = round(time.perf_counter() - started, 1)
        manifest = manifest.model_copy(update={"seconds_total": seconds, "messages": said})
        units = [unit.name for units in work.plan.values() for unit in units]
        write_tables(_joined(sink.path, units), PICTURES, sink.path / GENERATION_FILE)
        sink.finish(units, manifest, work.described())
        shutil.rmtree(sink.path / FOLDER, ignore_errors=True)
    return Generations.load(Path(out))


def first_of_each_label(sample_set: SampleSet, count: int) -> SampleSet:
    """The same set with the first so many test items of each label alone.

    Raises:
        UserError: It has fewer of a label.
    """
    tested = sample_set.items[sample_set.items["split"] == "test"]
    for label in (1, 0):
        if (found := int((tested["label"] == label).sum())) < count:
            what = "memorized" if label else "ordinary"
            raise UserError(f"`items` is {count}, and {sample_set.id} has {found} {what} items", parameters=("items",))
    kept = tested.groupby("label", sort=False).head(count)
    others = sample_set.items[sample_set.items["split"] != "test"]
    chosen = sample_set.items.loc[sorted([*kept.index, *others.index])].reset_index(drop=True)
    return dataclasses.replace(sample_set, items=chosen)


def _joined(directory: Path, units: Iterable[str]) -> Iterator[pa.Table]:
    for unit in units:
        yield pq.read_table(picture_file(directory, unit), schema=PICTURES)


def _check(sample_set: SampleSet, mitigations: Sequence[Mitigation], options: RunOptions) -> None:
    """Refuse what cannot be run or judged, before anything is loaded."""
    twice = [name for name, n in Counter(one.label for one in mitigations).items() if n > 1]
    if twice or not mitigations:
        what = f"two mitigations have the name {twice[0]!r}" if twice else "there is no mitigation"
        raise UserError(f"{what}: give each once")
    if sample_set.task != "prompt":
        raise UserError(f"{sample_set.id} is a set of images; mitigations generate from captions")
    tested = sample_set.items[sample_set.items["split"] == "test"]
    for model, part in tested.groupby("model"):
        read_rule(str(model))
        require_items(str(model), part["item_id"].tolist())
    if options.workers > 1:
        check_workers(cast("Sequence[Detector]", mitigations))
