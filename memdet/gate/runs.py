"""What the gate reads of a run directory, and what two runs differ in before any score is compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from memdet.detectors import DetectorInfo, detector_classes, make_detector
from memdet.errors import UserError
from memdet.results.differences import changed_names
from memdet.results.manifest import Manifest, SampleSetEntry
from memdet.results.run import Run, status_of

_CIRCUMSTANCES = ("memdet", "torch", "diffusers", "transformers")  # packages that can move scores
_PROTOCOL = ("dtype", "steps", "guidance", "noise")


@dataclass(frozen=True)
class DetectorRun:
    """One detector on one sample set.

    Attributes:
        status: The worst of its rows.
        message: Why it is not ok, or empty.
        version: Of the detector.
        control: Whether it never calls the model.
        tolerance: Relative difference that the run states for its scores.
        scores: ``[items, seeds]`` by item id and seed; one column where the score does not depend on the seed.
        seeded: Whether it does.
    """

    status: str
    message: str
    version: int
    control: bool
    tolerance: float
    scores: pd.DataFrame
    seeded: bool


@dataclass(frozen=True)
class SetRun:
    """One sample set in a run.

    Attributes:
        version: Of the sample set.
        items: ``label`` and ``cluster`` by item id.
        detectors: By label, in the order of the run.
    """

    version: int
    items: pd.DataFrame
    detectors: Mapping[str, DetectorRun]


@dataclass(frozen=True)
class GateRun:
    """A finished run, as the gate looks at it.

    Attributes:
        name: Its directory, or its name where it lives in memory.
        manifest: Settings and circumstances.
        sets: By sample set.
    """

    name: str
    manifest: Manifest
    sets: Mapping[str, SetRun]


def gate_run(run: Run, detectors: Collection[str] | None = None) -> GateRun:
    """Cut a run into what is compared.

    Args:
        run: Loaded or in memory.
        detectors: Labels to keep; None keeps all.

    Raises:
        UserError: It lacks one of the detectors.
    """
    name, manifest = str(run.path or run.name), run.manifest
    labels = [entry.label for entry in run.detectors]
    for label in detectors or ():
        if label not in labels:
            raise UserError(f"{name} has no detector {label}; it has {', '.join(labels)}")
    kept = [entry for entry in run.detectors if detectors is None or entry.label in detectors]
    tolerances = _tolerances(manifest, [entry.label for entry in kept])
    sets = {}
    for set_name, of_set in run.score_rows().groupby("sample_set", sort=False):
        items = of_set.drop_duplicates("item_id").set_index("item_id")
        by_label = {str(label): rows for label, rows in of_set.groupby("detector", sort=False)}
        found = {
            entry.label: DetectorRun(
                status=status_of(by_label[entry.label], is_control=entry.is_control),
                message="; ".join(manifest.messages_of(str(set_name), entry.label)),
                version=int(by_label[entry.label]["detector_version"].iloc[0]),
                control=entry.is_control,
                tolerance=tolerances[entry.label],
                scores=by_label[entry.label].pivot(index="item_id", columns="seed", values="score"),
                seeded=entry.seeded,
            )
            for entry in kept
            if entry.label in by_label
        }
        sets[str(set_name)] = SetRun(int(of_set["sample_set_version"].iloc[0]), items[["label", "cluster"]], found)
    return GateRun(name, manifest, sets)


def _tolerances(manifest: Manifest, labels: Collection[str]) -> dict[str, float]:
    """What ``run.json`` states; for a run from before it did, what the detectors of this memdet state."""
    found = {}
    for label in labels:
        value = manifest.tolerances.get(label)
        if value is None:
            try:
                value = make_detector(label, detector_classes()).tolerance
            except UserError:  # of a plugin, or gone
                value = DetectorInfo.tolerance
        if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
            raise UserError(f"run.json states the tolerance {value!r} for {label}: it is a number of 0 or more")
        found[label] = float(value)
    return found


def refuse_other_items(old: GateRun, new: GateRun) -> None:
    """Refuse to compare another version of a sample set, or items with other labels.

    Raises:
        UserError: Which, and where.
    """
    for name, before in old.sets.items():
        if name not in new.sets:
            continue
        after = new.sets[name]
        if before.version != after.version:
            raise UserError(
                f"{new.name} has version {after.version} of sample set {name}, the baseline {old.name} has version "
                f"{before.version}: make a new baseline"
            )
        both = before.items.index.intersection(after.items.index)
        labels, now = before.items.loc[both, "label"], after.items.loc[both, "label"]
        changed = both[labels != now]
        if len(changed):
            raise UserError(
                f"item {changed[0]} of {name} has label {now[changed[0]]} in {new.name} and {labels[changed[0]]} in "
                f"the baseline {old.name}: these are not the same items"
            )


def news(old: GateRun, new: GateRun) -> Iterator[str]:
    """Lines on what the baseline does not hold to: new sets, detectors and items, and what was not ok in it."""
    for name, after in new.sets.items():
        if name not in old.sets:
            yield f"{name}: not in the baseline, not compared"
            continue
        before = old.sets[name]
        if added := [label for label in after.detectors if label not in before.detectors]:
            yield f"{name}: not in the baseline, not compared: {', '.join(added)}"
        if more := len(after.items.index.difference(before.items.index)):
            yield f"{name}: {more} items are not in the baseline and were not compared"
        for label, detector in before.detectors.items():
            if detector.status in {"error", "nonfinite"} and label in after.detectors:
                yield f"{name}: {label} has status {detector.status} in the baseline, not compared"


def other_circumstances(old: GateRun, new: GateRun) -> Iterator[str]:
    """One line that names what may have moved the scores: packages, device, precision, weights, protocol, code."""
    before, after = ({entry.id: entry for entry in run.manifest.settings.sample_sets} for run in (old, new))
    told: dict[str, tuple[object, object]] = {
        name: (old.manifest.packages.get(name), new.manifest.packages.get(name)) for name in _CIRCUMSTANCES
    }
    told["device"] = (old.manifest.settings.device, new.manifest.settings.device)
    told["processor"] = (old.manifest.processor, new.manifest.processor)
    for name in before:
        for key in _PROTOCOL if name in after else ():
            told[f"{key} of {name}"] = (getattr(before[name], key), getattr(after[name], key))
    lines = [f"{what} {was} -> {now}" for what, (was, now) in told.items() if was != now]
    for name in before:
        if name in after and _weights(before[name]) != _weights(after[name]):
            lines.append(f"other weights of the model of {name}")
    for entry in new.manifest.settings.detectors:
        was = old.manifest.detector(entry.label)
        if was is not None and was.code and entry.code and was.code != entry.code:
            lines.append(f"code of {entry.label} {changed_names(was.code, entry.code)}")
    if lines:
        yield f"differs from the baseline: {'; '.join(lines)}"


def _weights(entry: SampleSetEntry) -> list[str]:
    """Fingerprints of the models of a sample set."""
    return sorted(entry.model_hashes.values())
