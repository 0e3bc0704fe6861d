"""Where a run goes that names no place."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from memdet.detectors import Detector
    from memdet.mitigation import Mitigation
    from memdet.samplesets import SampleSet

FOLDER = Path("runs")


def default_directory(
    name: str,
    sets: Sequence[SampleSet],
    detectors: Sequence[Detector | Mitigation],
    *,
    seeds: int | None = None,
    kind: str = "detectors",
) -> Path:
    """The directory of a name, or the first numbered one beside it that is free or holds the run that is asked for.

    So other detectors, sample sets, models, protocols or numbers of noise seeds start a run of their own, and the same
    command finds its own run again. What else differs, an edited file say, is told by the run that is there.

    Args:
        name: Of the run.
        sets: What is scored.
        detectors: What scores, or the mitigations.
        seeds: Noise seeds; None takes those of each protocol.
        kind: What to call what scores.
    """
    from memdet.results.manifest import FILE, Manifest
    from memdet.samplesets.names import id_of_file

    wanted = FOLDER / id_of_file(name)
    names = [s.id for s in sets], [detector.label for detector in detectors]
    asked = [
        (s.id, s.model, s.protocol.steps, s.protocol.guidance, s.protocol.noise, seeds or s.protocol.seeds)
        for s in sets
    ]
    other = f"{kind} or sample sets"
    for number in count(1):
        place = wanted if number == 1 else wanted.with_name(f"{wanted.name}-{number}")
        if not (place / FILE).is_file():
            break
        held = Manifest.read(place).settings
        same = ([entry.id for entry in held.sample_sets], [entry.label for entry in held.detectors]) == names
        if same and [(e.id, e.model, e.steps, e.guidance, e.noise, e.seeds) for e in held.sample_sets] == asked:
            break
        if number == 1 and same:
            other = "models or protocols"
    if number > 1:
        click.echo(f"memdet: {wanted} holds other {other}; this run goes to {place}", err=True)
    return place


def name_of_model(reference: str) -> str:
    """What a run is called after: the last part of what a user writes for a model.

    Example:
        >>> [name_of_model(name) for name in ("tiny-sd-a", "~/models/mine/", "org/name@main", "nets/own.py:make")]
        ['tiny-sd-a', 'mine', 'name@main', 'own.py-make']
    """
    return reference.rstrip("/").rsplit("/", 1)[-1].replace(":", "-")
