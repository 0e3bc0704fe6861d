"""The data of the page, as plain dictionaries and lists; ``script/data.js`` reads them."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from memdet.detectors import Detector, detector_classes
from memdet.detectors.base import is_control
from memdet.metrics import METRICS_VERSION, Interval, Ties, area_ties, auroc_interval, average_ranks, evaluate_rates
from memdet.page.methods import method_facts
from memdet.page.pictures import Pictures
from memdet.page.training import Training, training_of
from memdet.results.conditions import Source
from memdet.results.manifest import DetectorEntry, Manifest
from memdet.results.run import Run
from memdet.results.scale import scale_sentence
from memdet.results.scores import on_common_seeds, scores_by_seed
from memdet.tables.rows import FIELDS, Row, rows_of

Scores = NDArray[np.float64]
Draws = Sequence[Scores | None]  # of each noise seed, as `memdet.metrics` asks for them
Facts = Sequence[Training | None]
RATES = (0.01, 0.05, 0.1)
"""False positive rates of the page's choice; at others the sets in use resolve nothing, or nobody asks."""


def payload_of(runs: Sequence[Run], *, generations: int, picture_bytes: int) -> dict[str, Any]:
    """Everything that the page shows of finished runs.

    Args:
        runs: Loaded or in memory.
        generations: Images an item to show, of those that are kept; 0 for no images.
        picture_bytes: What the images may take, encoded; items that no longer fit have none.
    """
    data: dict[str, Any] = {
        "rates": list(RATES),
        "fields": list(FIELDS),
        "detectors": {},
        "runs": [],
        "conditions": [],
        "sets": [],
        "version": version("memdet"),
        "metrics": METRICS_VERSION,
        "date": max((run.manifest.started for run in runs), default="")[:10],
        "front": None,
    }
    conditions: dict[str, int] = {}
    pictures = Pictures(generations)
    training: dict[str, dict[str, Training]] = {}
    classes = detector_classes()
    for index, run in enumerate(runs):
        rows = rows_of(run)
        data["runs"].append(_circumstances(run.manifest))
        for entry in run.detectors:
            data["detectors"].setdefault(entry.label, _detector(entry, classes))
        for name, of_set in run.score_rows().groupby("sample_set", sort=False):
            source = run.sources.get(str(name), Source())
            for model in dict.fromkeys(source.model.values()):
                training.setdefault(model, training_of(model))
            ids = of_set["item_id"].unique()
            known = [source.condition.get(item) for item in ids]
            facts = [
                training.get(source.model.get(item, ""), {}).get(text or "")
                for item, text in zip(ids, known, strict=True)
            ]
            described = _set(str(name), of_set, [row for row in rows if row["sample_set"] == name], source, facts)
            described["run"] = index
            described["items"]["condition"] = [
                -1 if text is None else conditions.setdefault(text, len(conditions)) for text in known
            ]
            pictures.add(described, source, facts, run.images)
            data["sets"].append(described)
    data["conditions"] = list(conditions)
    data["methods"] = method_facts(data["detectors"], classes)
    models = [name for run in runs for source in run.sources.values() for name in _models(source)]
    data["scale"] = scale_sentence(models, {key: image for run in runs for key, image in run.images.items()})
    data["pictures"] = pictures.encode(picture_bytes)
    return data


def _models(source: Source) -> set[str]:
    """Of the items, as far as they are known; else that of the set."""
    stated = source.entry.model if source.entry is not None else None
    return set(source.model.values()) or ({stated} if stated else set())


def _circumstances(manifest: Manifest) -> dict[str, Any]:
    wanted = (
        "command",
        "started",
        "git_revision",
        "processor",
        "cores",
        "threads",
        "python",
        "packages",
        "seconds_total",
    )
    told = {key: getattr(manifest, key) or None for key in wanted}
    return told | {"device": manifest.settings.device}


def _detector(entry: DetectorEntry, classes: Mapping[str, type[Detector]]) -> dict[str, Any]:
    """What the table says of a detector; of one that is not installed here, what the run knows."""
    cls = classes.get(entry.label.partition("@")[0])
    known = {} if cls is None else {key: getattr(cls.info, key) for key in ("title", "paper", "year", "task", "cost")}
    return {"access": entry.access, "control": entry.is_control, "seeded": entry.bound_to_seeds, **known}


def _set(name: str, of_set: pd.DataFrame, rows: list[Row], source: Source, training: Facts) -> dict[str, Any]:
    """One sample set, but for the places of its images and of its conditions."""
    table = of_set.drop_duplicates("item_id").set_index("item_id")
    strata = sorted(dict.fromkeys(table["stratum"]))
    means = of_set.groupby(["detector", "item_id"], sort=False)["score"].mean()
    usable = [row["detector"] for row in rows if row["status"] == "ok"]
    scores = {label: means[label].loc[table.index].to_numpy(np.float64) for label in usable}
    spec = source.sample_set.spec if source.sample_set else None
    of_items = (
        np.reshape(list(scores.values()), (len(scores), len(table))),
        table["label"].to_numpy(np.int64),
        table["cluster"].to_numpy(str),
    )
    ranked = [row["ranked"] for row in rows if row["status"] == "ok"]
    by_label = dict(iter(of_set[of_set["detector"].isin(usable)].groupby("detector", sort=False)))
    moved = {row["detector"] for row in rows if row["draws"] is not None}
    draws = on_common_seeds(
        [scores_by_seed(by_label[label], table.index) if label in moved else None for label in usable]
    )
    measures = _measures(*of_items, np.array(ranked, dtype=np.bool_), draws)
    items = {
        "id": table.index.tolist(),
        "label": table["label"].tolist(),
        "stratum": [strata.index(stratum) for stratum in table["stratum"]],
        "extraction": [None if np.isnan(value) else value for value in table["extraction"]],
        "copies": [fact.copies if fact else None for fact in training],
        "variants": [fact.variants if fact else None for fact in training],
        **_ranks([scores[row["detector"]] for row in rows if row["detector"] in scores and not _control(row)]),
    }
    return {
        "id": name,
        "title": spec.title if spec else "",
        "task": spec.task if spec else None,
        "order": spec.order if spec else None,
        "label_rule": spec.label_rule if spec else "",
        "audit": None,
        "known_problems": spec.known_problems if spec else [],
        "protocol": {key: getattr(source.entry, key, None) for key in ("model", "steps", "guidance", "noise")},
        "rows": [[row[name] for name in FIELDS] for row in rows],
        "tpr": dict(zip(usable, measures.tpr, strict=True)),
        "tied": measures.tied,
        "strata": strata,
        "items": items,
        "dose": _dose(items, strata, scores, table, draws),
        "scores": {label: _packed(values) for label, values in scores.items()},
    }


@dataclass(frozen=True)
class _Measures:
    """What the page shows of ``k`` detectors at each of the rates, and who is tied.

    Attributes:
        tpr: Of each detector and rate, value and bounds.
        tied: By AUROC and at each rate; see :func:`_cells`.
    """

    tpr: list[list[list[float | None]]]
    tied: list[list[str]]


def _measures(
    scores: Scores, labels: NDArray[np.int64], clusters: NDArray[np.str_], ranked: NDArray[np.bool_], draws: Draws
) -> _Measures:
    """Measures of all detectors; tested against each other, and tied, are the ranked ones alone."""
    tpr: list[list[list[float | None]]] = [[] for _ in ranked]
    ties: list[Ties] = []
    for kept in (ranked, ~ranked):
        own = [draws[index] for index in np.flatnonzero(kept).tolist()]
        at_rates = evaluate_rates(scores[kept], labels, clusters, RATES, by_seed=own) if kept.any() else []
        for place, index in enumerate(np.flatnonzero(kept).tolist()):
            tpr[index] = [_numbers(at_rate.tpr[place]) for at_rate in at_rates]
        if kept is ranked:
            ties = (
                [area_ties(scores[kept], labels, clusters, by_seed=own), *(at_rate.ties for at_rate in at_rates)]
                if at_rates
                else []
            )
    return _Measures(tpr, [_cells(of_measure, ranked) for of_measure in ties])


def _control(row: Row) -> bool:
    return is_control(row["access"])


def _ranks(scores: list[Scores]) -> dict[str, list[float]]:
    """Over the detectors that are no controls: mean and spread of an item's percentile rank (0 lowest, 100 highest)."""
    if not scores:
        return {}
    n = len(scores[0])
    ranks = np.stack([(average_ranks(values) - 1) / max(1, n - 1) * 100 for values in scores])
    return {"rank": ranks.mean(axis=0).round(1).tolist(), "disagreement": ranks.std(axis=0).round(1).tolist()}


def _dose(
    items: dict[str, Any], strata: list[str], scores: dict[str, Scores], table: pd.DataFrame, draws: Draws
) -> dict[str, Any] | None:
    """AUROC of each stratum of memorized items against all others, by its dose; None where strata have no doses.

    The dose is the number of copies in the training set, or else the number in the stratum's name.
    """
    doses: dict[int, set[Any]] = {}
    for stratum, label, copies in zip(items["stratum"], items["label"], items["copies"], strict=True):
        if label == 1:
            doses.setdefault(stratum, set()).add(copies)
    if len(doses) < 2:
        return None
    names = {stratum: strata[stratum] for stratum in doses}
    word = "copies in the training set"
    if any(len(found) > 1 or None in found for found in doses.values()) or _repeats([*map(tuple, doses.values())]):
        numbered = {stratum: re.fullmatch(r"(.*?)[-_ ]?(\d+)", name) for stratum, name in names.items()}
        if not all(numbered.values()) or _repeats([m[2] for m in numbered.values() if m]):
            return None
        doses = {stratum: {int(m[2])} for stratum, m in numbered.items() if m}
        word = ", ".join(sorted({m[1] or "number" for m in numbered.values() if m}))
    order = sorted(doses, key=lambda stratum: min(doses[stratum]))
    points: dict[str, list[list[float | None]]] = {label: [] for label in scores}
    labels, clusters = table["label"].to_numpy(np.int64), table["cluster"].to_numpy(str)
    for stratum in order:
        kept = ((table["stratum"] == names[stratum]) & (table["label"] == 1) | (table["label"] == 0)).to_numpy()
        for (label, values), of_seeds in zip(scores.items(), draws, strict=True):
            by_seed = None if of_seeds is None else of_seeds[kept]
            points[label].append(_numbers(auroc_interval(values[kept], labels[kept], clusters[kept], by_seed=by_seed)))
    return {
        "word": word,
        "doses": [min(doses[stratum]) for stratum in order],
        "strata": order,
        "points": points,
    }


def _repeats(values: list[Any]) -> bool:
    return len(set(values)) < len(values)


def _numbers(interval: Interval) -> list[float | None]:
    values = (interval.value, interval.low, interval.high)
    return [None if np.isnan(value) else float(value) for value in values]


def _cells(ties: Ties, ranked: NDArray[np.bool_]) -> list[str]:
    """A line a detector, in it "1" for each that is not told apart from it; of who is not ranked, itself alone."""
    tied = np.eye(len(ranked), dtype=np.bool_)
    tied[np.ix_(ranked, ranked)] = ~ties.apart
    return ["".join("01"[int(cell)] for cell in line) for line in tied]


def _packed(scores: Scores) -> str:
    """Base64 of little-endian float32, or of float64 where float32 would merge or overflow what differs."""
    with np.errstate(over="ignore"):
        single = scores.astype("<f4")
    exact = np.isfinite(single).all() and len(np.unique(single)) == len(np.unique(scores))
    return base64.b64encode((single if exact else scores.astype("<f8")).tobytes()).decode()
