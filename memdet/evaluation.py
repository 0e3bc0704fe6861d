"""From Python: ``evaluate`` runs detectors, ``load_run`` reads a finished run, ``get_detector`` makes a detector."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memdet.errors import UserError
from memdet.results.run import Run

if TYPE_CHECKING:
    from os import PathLike

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
        out: Run directory to keep (and to resume); None keeps the run in memory.
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
    from memdet.detectors import detector_classes, make_detector, with_controls
    from memdet.models.device import device_named
    from memdet.running import RunOptions, run

    classes = detector_classes()
    made = [make_detector(d, classes) if isinstance(d, str) else d for d in _several(detectors)]
    sets, models, place = _sets(sample_sets), None, device_named(device)
    if model is not None:
        name, models = _given(model, place)
        place = str(models[name].device)
        sets = [one.with_model(name) for one in sets]
    for sample_set in sets:
        if sample_set.model is None:
            raise UserError(f"sample set {sample_set.id} names no model: give one, evaluate(..., model=...)")
    options = RunOptions(seeds=seeds, device=place, batch_size=batch_size)
    target, chosen = None if out is None else Path(out), with_controls(made, classes)
    return run(sets, chosen, target, options, models=models, command="memdet.evaluate", progress=progress)


def load_run(path: str | PathLike[str]) -> Run:
    """Read a finished run of any version so far. Imports no torch.

    Args:
        path: Run directory, as ``memdet run --out`` or ``evaluate(out=...)`` made it.

    Raises:
        UserError: There is no run, it is unfinished or damaged, or a newer memdet wrote it.

    Example:
        >>> load_run("results/quick/reference")
        Run('quick/reference': 2 sample sets, 14 detectors, 15,950 scores)
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
    return list(given) if isinstance(given, list | tuple) else [given]


def _sets(given: object) -> list[SampleSet]:
    """Sample sets, loaded."""
    from memdet.samplesets import SampleSet, load_sample_set

    return [one if isinstance(one, SampleSet) else load_sample_set(one) for one in _several(given)]


def _given(model: ScoreModel | str | Path, device: str) -> tuple[str, dict[str, ScoreModel]]:
    """Name of a model that takes the place of the sample sets' own, and the model by it."""
    from memdet.models import ScoreModel, load_model

    loaded = model if isinstance(model, ScoreModel) else load_model(model, device=device)
    name = loaded.name if isinstance(model, ScoreModel) else str(model)
    return name, {name: loaded}
