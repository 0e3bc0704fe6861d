"""Checks of an entry that compute: models, some scores again, and the contract of its own detectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from memdet.detectors import Detector
from memdet.errors import UserError
from memdet.leaderboard.entry import AGAIN, Entry, findings_of
from memdet.models import ScoreModel, load_model
from memdet.models.closed_form.catalogue import CLOSED_FORM
from memdet.probing import Context, Items, Probe
from memdet.probing.from_sample_set import dev_items, items_of, items_of_whole
from memdet.running.scoring import score_items
from memdet.running.work_plan import tested_items
from memdet.samplesets import SampleSet
from memdet.testing.check_detector import Finding, is_built_in, validate

ITEMS = 2  # of each label and model
TOLERANCE = 0.01  # of the range of a detector's scores on a sample set


class _Batch(NamedTuple):
    model: ScoreModel
    items: Items
    probe: Probe


def check_again(entry: Entry) -> list[Finding]:
    """Compare models' hashes and some scores with what this installation computes; try the contract.

    A closed form's hash is not compared: its last digits depend on the processor.
    """
    models: dict[tuple[str, str], ScoreModel] = {}
    wrong, unread = [], []
    for settings in entry.manifest.settings.sample_sets:
        of_set = entry.sample_sets.get(settings.id)
        for name in [] if of_set is None else of_set.items["model"].unique():
            try:
                model = models.setdefault(
                    (name, settings.dtype), load_model(name, dtype=getattr(torch, settings.dtype, torch.float32))
                )
            except UserError as error:
                unread.append(str(error))
                continue
            stored = settings.model_hashes.get(name)
            if name not in CLOSED_FORM and stored != model.fingerprint():
                wrong.append(
                    f"{settings.id}: the model {name} is not that of this memdet: restore its files, and {AGAIN}"
                )
    findings = findings_of("models", wrong, "hashes are those of this memdet")
    findings += [Finding("models", "skipped", reason) for reason in unread]
    compared: list[str] = []
    again = list(_scores_again(entry, models, compared))
    if not again and not compared:
        again = ["no score could be computed again, so that nothing is known of them: submit where the models are"]
    findings += findings_of("scores again", again, f"{ITEMS} items of each label score the same here")
    return findings + list(_contracts(entry))


def _scores_again(entry: Entry, models: dict[tuple[str, str], ScoreModel], compared: list[str]) -> Iterator[str]:
    """One line for a sample set and detector whose scores differ; all detectors of a batch ask one probe.

    Args:
        entry: Whose scores.
        models: By name and precision.
        compared: Takes the label of each detector, controls aside, of which a score was computed again.
    """
    tables = list(entry.tables())
    with tqdm(total=len(tables), desc="scores again", unit="detector", disable=None) as bar:
        for _, of_one_set in groupby(tables, key=lambda table: table[0].id):
            parts: dict[bool, list[_Batch]] = {}
            for settings, of_set, detector, table in of_one_set:
                bar.set_description(settings.id)
                made = entry.detectors.get(detector.label)
                stored = table[table["seed"] == 0].drop_duplicates("item_id").set_index("item_id")
                if made is not None and not stored.empty:
                    whole = made.info.whole_set
                    if whole not in parts:
                        parts[whole] = list(_batches(of_set, whole, models, settings.dtype))
                    mistake = _mistake(made, stored, parts[whole])
                    if parts[whole] and not made.info.is_control and (stored["status"] == "ok").any():
                        compared.append(made.label)
                    if mistake:
                        yield f"{settings.id}, {detector.label}: {mistake}"
                bar.update()
            for batch in chain.from_iterable(parts.values()):
                batch.probe.forget()


def _mistake(detector: Detector, stored: pd.DataFrame, batches: Sequence[_Batch]) -> str | None:
    finite = stored["score"][np.isfinite(stored["score"])]
    bound = TOLERANCE * float(finite.max() - finite.min()) if len(finite) else 0.0
    old = dict(zip(stored.index, zip(stored["score"], stored["status"], strict=True), strict=True))
    for batch in batches:
        scores, statuses, _, _ = score_items(batch.model, batch.items, detector, batch.probe)
        new = dict(zip(batch.items.ids, zip(scores, statuses, strict=True), strict=True))
        mistake = _difference(old, new, bound)
        if mistake:
            return mistake
    return None


def _difference(old: Mapping[str, tuple[float, str]], new: Mapping[str, tuple[float, str]], bound: float) -> str | None:
    """The first item that has another status, or a score further off than the bound."""
    for item, (score, status) in new.items():
        before, was = old[item]
        if was != status:
            return f"item {item} is {was}, here {status}: {AGAIN}"
        if status == "ok" and abs(before - score) > bound + 1e-9 * abs(score):
            return (
                f"item {item} with seed 0 scores {before:.6g}, here {score:.6g}: {AGAIN}, and raise the version of a "
                "detector that you changed"
            )
    return None


def _batches(of_set: SampleSet, whole: bool, models: dict[tuple[str, str], ScoreModel], dtype: str) -> Iterator[_Batch]:
    """What to score, by model; all items at once for detectors that take the whole set in one call."""
    tested = tested_items(of_set)
    parts = [(tested["model"].iloc[0], tested)] if whole else tested.groupby("model", sort=False)
    for name, of_model in parts:
        model = models.get((str(name), dtype))
        if model is not None:
            part = of_model if whole else of_model.groupby("label").head(ITEMS)
            items = items_of_whole(part, of_set, model) if whole else items_of(part, of_set, model)
            dev = dev_items(of_set, part["model"].unique(), model)
            probe = Probe(model, items, Context(of_set.protocol, n_items=len(part)), dev=dev)
            yield _Batch(model, items, probe)


def _contracts(entry: Entry) -> Iterator[Finding]:
    """Of the detectors that memdet does not have itself; its own are held to it by its tests."""
    for label, detector in entry.detectors.items():
        if is_built_in(detector):
            continue
        for finding in validate(detector):
            yield Finding(f"contract of {label}", finding.status, f"{finding.check}: {finding.detail}")
