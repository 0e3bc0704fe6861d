"""From Python: ``evaluate`` runs detectors, ``load_run`` reads a finished run, ``get_detector`` makes a detector."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memdet.errors import UserError
from memdet.results.remote import place_of
from memdet.results.run import Run

if TYPE_CHECKING:
    from memdet.detectors import Detector
    from memdet.models import ScoreModel
    from memdet.samplesets import SampleSet


def evaluate(
    detectors: Detector | str | Sequence[Detector | str],
    sample_sets: SampleSet | str | Path | Sequence[SampleSet | str | Path],
    *,
    model: ScoreModel | str | Path | None = None,
    seeds: int | None = None,
    out: Path | str | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    progress: bool = True,
) -> Run:
    """Score sample sets with detectors.

    Args:
        detectors: Instances, or what the command line takes: ``"wen2024@steps=5"``; one alone or several. Controls are
            added.
        sample_sets: Loaded sets, ids or paths of specs; one alone or several.
        model: Instead of the sets' own: loaded, or what :func:`memdet.load_model` takes.
        seeds: Noise seeds 0 to seeds - 1; None takes each protocol's own number.
        out: Run directory to keep (and to resume), or its address, ``s3://bucket/run``; None keeps the run in memory.
        device: Where the models compute; ``auto`` takes CUDA, then MPS, where they are. A loaded model stays where it
            is.
        batch_size: Items at once; None chooses by the size of a latent.
        progress: Show a bar on standard error.

    Returns:
        The run: ``run.table``, ``run.scores``, ``run.roc(name)``, ``run.compare(a, b)``, ``run.to_html()``.

    Raises:
        UserError: Unknown names or bad input.

    Example:
        >>> run = evaluate("wen2024", "mixture-2d", seeds=1, progress=False)
        >>> run
        Run('run': 1 sample set, 6 detectors, 2,400 scores)
        >>> [row["auroc"] for row in run.table if row["detector"] == "wen2024"]
        [1.0]
    """
    from memdet.detectors import detector_classes, with_controls
    from memdet.models.device import device_named
    from memdet.running import RunOptions, run

    classes, sets = detector_classes(), _sets(sample_sets)
    made, place, models = _detectors(detectors, classes), device_named(str(device)), None
    if model is not None:
        name, models = _given(model, place)
        place = str(models[name].device)
        sets = [one.with_model(name) for one in sets]
    for one in sets:
        if one.model is None:
            raise UserError(f"sample set {one.id} names no model: give one, evaluate(..., model=...)")
    options = RunOptions(seeds=seeds, device=place, batch_size=batch_size)
    target, chosen = None if out is None else _path("out", out), with_controls(made, classes)
    return run(sets, chosen, target, options, models=models, command="memdet.evaluate", progress=progress)


def load_run(path: str | PathLike[str]) -> Run:
    """Read a finished run of any version so far. Imports no torch.

    Args:
        path: Run directory or its address, as ``memdet run --out`` or ``evaluate(out=...)`` made it.

    Raises:
        UserError: There is no run, it is unfinished or damaged, or a newer memdet wrote it.

    Example:
        >>> load_run("results/quick/reference")
        Run('quick/reference': 2 sample sets, 12 detectors, 38,918 scores)
    """
    return Run.load(path)


def get_detector(name: str) -> Detector:
    """A detector by its name, with options if wanted.

    Args:
        name: As on the command line: ``name`` or ``name@option=value,option=value``.

    Raises:
        UserError: Unknown name (the nearest are shown), unknown option or bad value.

    Example:
        >>> get_detector("wen2024@steps=5").label
        'wen2024@steps=5'
    """
    from memdet.detectors import detector_classes, make_detector

    return make_detector(name, detector_classes())


def _several(given: object) -> list[Any]:
    """A list of what may be one alone; a sample set is one, though it is a sequence of items."""
    return list(given) if isinstance(given, list | tuple | set | frozenset | Iterator | dict) else [given]


def _detectors(given: object, classes: dict[str, type[Detector]]) -> list[Detector]:
    """Detectors, made where they are named; one that is named twice is one."""
    from memdet.detectors import Detector, make_detector

    made: dict[str, Detector] = {}
    for one in _several(given):
        if isinstance(one, str):
            one = make_detector(one, classes)
        elif inspect.isclass(one) and issubclass(one, Detector):
            raise UserError(f"{one.__name__} is a class of detectors: give a detector, {one.__name__}()")
        elif not isinstance(one, Detector):
            raise UserError(f"{one!r} is no detector: give names, as `memdet list detectors` shows them, or instances")
        elif not hasattr(one, "info"):
            raise UserError(f"detector {type(one).__name__} has no info: give its class one, info = DetectorInfo(...)")
        elif one.info.name in classes and type(one) is not classes[one.info.name]:
            raise UserError(f"{type(one).__name__} has the name of another detector, {one.info.name}: rename it")
        elif one.label in made and type(made[one.label]) is not type(one):
            raise UserError(f"two detectors are named {one.label}: rename one")
        made.setdefault(one.label, one)
    return list(made.values())


def _sets(given: object) -> list[SampleSet]:
    """Sample sets, loaded."""
    from memdet.samplesets import SampleSet, load_sample_set

    sets = []
    for one in _several(given):
        if not isinstance(one, SampleSet | str | Path):
            advice = "give ids, paths of specs, or SampleSet.from_pandas(...) and SampleSet.from_file(...)"
            raise UserError(f"{type(one).__name__} is no sample set: {advice}")
        sets.append(one if isinstance(one, SampleSet) else load_sample_set(one))
    if not sets:
        raise UserError("no sample set is given: `memdet list sets` shows what there is")
    return sets


def _given(model: ScoreModel | str | Path, device: str) -> tuple[str, dict[str, ScoreModel]]:
    """Name of a model that takes the place of the sample sets' own, and the model by it."""
    from memdet.models import ScoreModel, load_model
    from memdet.models.own_file import checked_model

    if isinstance(model, ScoreModel):
        checked_model(model, f"`model` {type(model).__name__}")
        return model.name, {model.name: model}
    if not isinstance(model, str | Path):
        advice = "give a name, a directory, or what load_model and ScoreModel.from_callable return"
        raise UserError(f"{type(model).__name__} is no model: {advice}")
    return str(model), {str(model): load_model(model, device=device)}


def _path(name: str, given: object) -> Path | str:
    if not isinstance(given, str | PathLike) or not str(given):
        raise UserError(f"`{name}` is {given!r}, not a path", parameters=(name,))
    place = place_of(given, name)
    return place.expanduser() if isinstance(place, Path) else place
