"""What the gate reads of a run directory, and what two runs differ in before any score is compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from memdet.errors import UserError
from memdet.results.store import read_manifest, read_scores
from memdet.tables.rows import CONTROLS, status_of

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
class Run:
    """A finished run, as the gate looks at it."""

    path: Path
    manifest: Mapping[str, Any]
    sets: Mapping[str, SetRun]


def read_gate_run(path: Path, detectors: Collection[str] | None = None) -> Run:
    """Read a run directory.

    Args:
        path: Of a finished run.
        detectors: Labels to keep; None keeps all.

    Raises:
        UserError: It holds no finished run, or lacks one of the detectors.
    """
    manifest = read_manifest(path)
    table = read_scores(path).to_pandas()
    entries = {entry["label"]: entry for entry in manifest["settings"]["detectors"]}
    for label in detectors or ():
        if label not in entries:
            raise UserError(f"{path} has no detector {label}; it has {', '.join(entries)}")
    kept = {label: entry for label, entry in entries.items() if detectors is None or label in detectors}
    tolerances = _tolerances(manifest, kept)
    sets = {}
    for name, of_set in table.groupby("sample_set", sort=False):
        items = of_set.drop_duplicates("item_id").set_index("item_id")
        messages = manifest.get("messages", {}).get(name, {})
        by_label = {str(label): rows for label, rows in of_set.groupby("detector", sort=False)}
        found = {
            label: DetectorRun(
                status=status_of(by_label[label]),
                message="; ".join(messages.get(label, [])),
                version=int(by_label[label]["detector_version"].iloc[0]),
                control=entry["access"] in CONTROLS,
                tolerance=tolerances[label],
                scores=by_label[label].pivot(index="item_id", columns="seed", values="score"),
                seeded=entry.get("seeded", True),
            )
            for label, entry in kept.items()
            if label in by_label
        }
        sets[str(name)] = SetRun(int(of_set["sample_set_version"].iloc[0]), items[["label", "cluster"]], found)
    return Run(path, manifest, sets)


def _tolerances(manifest: Mapping[str, Any], labels: Collection[str]) -> dict[str, float]:
    """What ``run.json`` states; for a run from before it did, what the detectors of this memdet state."""
    from memdet.detectors import DetectorInfo, detector_classes, make_detector

    stated = manifest.get("tolerances", {})
    found = {}
    for label in labels:
        value = stated.get(label)
        if value is None:
            try:
                value = make_detector(label, detector_classes()).tolerance
            except UserError:  # of a plugin, or gone
                value = DetectorInfo.tolerance
        if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
            raise UserError(f"run.json states the tolerance {value!r} for {label}: it is a number of 0 or more")
        found[label] = float(value)
    return found


def refuse_other_items(old: Run, new: Run) -> None:
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
                f"{new.path} has version {after.version} of sample set {name}, the baseline {old.path} has version "
                f"{before.version}: make a new baseline"
            )
        both = before.items.index.intersection(after.items.index)
        labels, now = before.items.loc[both, "label"], after.items.loc[both, "label"]
        changed = both[labels != now]
        if len(changed):
            raise UserError(
                f"item {changed[0]} of {name} has label {now[changed[0]]} in {new.path} and {labels[changed[0]]} in "
                f"the baseline {old.path}: these are not the same items"
            )


def news(old: Run, new: Run) -> Iterator[str]:
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


def other_circumstances(old: Run, new: Run) -> Iterator[str]:
    """One line that names what may have moved the scores: packages, device, precision, weights, protocol."""
    before, after = ({entry["id"]: entry for entry in run.manifest["settings"]["sample_sets"]} for run in (old, new))
    told: dict[str, tuple[object, object]] = {
        name: tuple(run.manifest.get("packages", {}).get(name) for run in (old, new)) for name in _CIRCUMSTANCES
    }
    told["device"] = (old.manifest["settings"].get("device"), new.manifest["settings"].get("device"))
    told["processor"] = (old.manifest.get("processor"), new.manifest.get("processor"))
    for name in before:
        for key in _PROTOCOL if name in after else ():
            told[f"{key} of {name}"] = (before[name].get(key), after[name].get(key))
    lines = [f"{what} {was} -> {now}" for what, (was, now) in told.items() if was != now]
    for name in before:
        if name in after and _weights(before[name]) != _weights(after[name]):
            lines.append(f"other weights of the model of {name}")
    if lines:
        yield f"differs from the baseline: {'; '.join(lines)}"


def _weights(entry: Mapping[str, Any]) -> list[str]:
    """Fingerprints of the models of a sample set, as old and new runs write them."""
    return sorted(entry["model_hashes"].values()) if "model_hashes" in entry else [entry["model_hash"]]
